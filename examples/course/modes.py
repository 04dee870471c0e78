"""recv with nothing to read, in each of the three modes of a socket."""
import socket, threading, time

ours, theirs = socket.socketpair()

def waited(what):
    started = time.monotonic()
    try:
        result = repr(ours.recv(100))
    except OSError as error:
        result = type(error).__name__
    print(f"{what}: {result} after {time.monotonic() - started:.1f} s")

ours.setblocking(False)
waited("non-blocking")
ours.settimeout(0.2)
waited("time-out of 0.2 s")
ours.setblocking(True)
threading.Timer(0.3, theirs.sendall, [b"hello"]).start()
waited("blocking")
