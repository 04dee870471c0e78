#!/usr/bin/env python3
"""A chat server with a thread for each client. The first line is a name; everybody sees every further line. Run it as
    python3 chat_server.py HOST PORT        (port 0: any free one; it is printed)"""
import contextlib, socket, socketserver, struct, sys, threading

clients = {}  # name -> socket. All threads share it, so each use of it holds the lock
lock = threading.Lock()

def tell_everybody(text):
    with lock:  # one line after the other: all clients see the same lines in the same order
        for name, client in list(clients.items()):
            try:
                client.sendall(f"{text}\n".encode("utf-8"))
            except OSError:  # it has closed, or read nothing for a second: the others do not wait for it
                with contextlib.suppress(OSError):
                    clients.pop(name).shutdown(socket.SHUT_RDWR)

class Client(socketserver.StreamRequestHandler):
    def lines(self):
        with contextlib.suppress(OSError):  # a reset ends the lines as a close does
            while line := self.rfile.readline(1000):  # at most 1000 bytes; empty once the client has closed
                yield "".join(char for char in line.decode("utf-8", "replace") if char.isprintable())
    def handle(self):
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 1, 0))
        lines = self.lines()
        name = next(lines, "")
        with lock:
            is_free = name != "" and clients.setdefault(name, self.request) is self.request
        if not is_free:
            return self.wfile.write(b"-- this name is taken, or empty\n")
        tell_everybody(f"-- {name} has come")
        for text in lines:
            tell_everybody(f"{name}: {text}")
        with lock:
            if clients.get(name) is self.request:
                del clients[name]
        tell_everybody(f"-- {name} has left")

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

with Server((sys.argv[1], int(sys.argv[2])), Client) as server:
    print("listening on %s:%d" % server.server_address, flush=True)
    server.serve_forever()
