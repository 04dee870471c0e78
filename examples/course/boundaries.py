"""Three sends, and what recv makes of them: a stream has no messages."""
import socket

def connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]

for size in (1024, 4, 1):
    client, server = connection()
    with client, server:
        for text in (b"one", b"two", b"three"):
            client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        while len(server.recv(1024, socket.MSG_PEEK)) < len(b"onetwothree"):
            pass  # until all of it has come; it stays in the queue
        pieces = iter(lambda: server.recv(size), b"")
        print(f"recv({size}) gave:", *(repr(piece.decode()) for piece in pieces))
