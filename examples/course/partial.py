"""Sends a megabyte through a non-blocking socket: send takes what fits, and the program keeps the rest."""
import select, socket

MESSAGE = bytes(1_000_000)
with socket.create_server(("127.0.0.1", 0)) as listener:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # a small queue, so that it fills at once
    client.connect(listener.getsockname())
    server, _ = listener.accept()
with client, server:
    client.setblocking(False)
    unsent, received, sends, refused = memoryview(MESSAGE), 0, 0, 0
    while received < len(MESSAGE):
        readable, writable, _ = select.select([server], [client] if unsent else [], [])
        if writable:
            try:
                taken = client.send(unsent)
                if sends == 0:
                    print(f"the first send took {taken} of {len(unsent)} bytes")
                unsent, sends = unsent[taken:], sends + 1
            except BlockingIOError:
                refused += 1  # a selector may be wrong: try again later
        if readable:
            received += len(server.recv(65_536))
    print(f"{sends} sends for {received} bytes")
