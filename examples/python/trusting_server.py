#!/usr/bin/env python3
"""A server with a mistake, for `vang net fuzz`: it believes the length that a client claims.

    python3 trusting_server.py HOST PORT
"""
import os
import socket
import sys

server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
while True:
    client, _ = server.accept()
    try:
        length = int.from_bytes(client.recv(2), "big")
        if length > 60_000:
            os._exit(1)  # as a program ends that has no memory for what was claimed
        client.sendall(b"ok")
    except ConnectionError:
        pass
    client.close()
