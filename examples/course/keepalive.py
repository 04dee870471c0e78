"""A connection with keep-alive, and the timer that the kernel then shows."""
import socket, subprocess

with socket.create_server(("127.0.0.1", 0)) as listener:
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
with client, server:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)   # seconds of silence before the first probe
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)  # seconds between probes
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)     # probes without an answer, then ETIMEDOUT
    port = client.getsockname()[1]
    print(subprocess.run(["ss", "-tnoH", f"sport = :{port}"], capture_output=True, text=True).stdout.strip())
