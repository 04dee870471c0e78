"""The windows of a connection before and after it sends, from the kernel (TCP_INFO, linux/tcp.h)."""
import socket, struct, threading

def windows(sock):
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    words = struct.unpack_from("24I", info, 8)
    mss, threshold, window = words[2], words[17], words[18]
    slow_start = "no loss yet: slow start" if threshold == 0x7FFFFFFF else f"slow start ends at {threshold}"
    return f"congestion window {window} segments of {mss} bytes; {slow_start}"

def drain(sock):
    while sock.recv(65_536):
        pass

with socket.create_server(("127.0.0.1", 0)) as listener:
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
with client, server:
    reader = threading.Thread(target=drain, args=[server])
    reader.start()
    print("new:", windows(client))
    client.sendall(bytes(20_000_000))
    print("after 20 MB:", windows(client))
    client.shutdown(socket.SHUT_WR)
    reader.join()
