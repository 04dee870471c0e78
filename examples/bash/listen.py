"""Listens for a program that serves one connection on its stdin and stdout, like inetd. Run it as
    python3 listen.py HOST PORT COMMAND...        (port 0: any free one; it is printed)"""
import socket, subprocess, sys

host, port, *command = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.create_server((host, int(port)), family=family) as server:
    print(f"listening on {host}:{server.getsockname()[1]}", flush=True)
    while True:
        with server.accept()[0] as connection:
            subprocess.run(command, stdin=connection, stdout=connection)
