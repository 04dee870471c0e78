"""Connects without blocking: python3 connecting.py HOST PORT
connect begins the handshake and returns; the socket is writable when the handshake has ended, well or badly."""
import errno, os, select, socket, sys

with socket.socket() as sock:
    sock.setblocking(False)
    begun = sock.connect_ex((sys.argv[1], int(sys.argv[2])))
    print("connect:", errno.errorcode.get(begun, "done at once"))
    _, writable, _ = select.select([], [sock], [], 5)
    if not writable:
        sys.exit("no answer after 5 s")
    result = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    print("writable; SO_ERROR:", f"{errno.errorcode[result]}, {os.strerror(result)}" if result else "0, connected")
    sys.exit(1 if result else 0)
