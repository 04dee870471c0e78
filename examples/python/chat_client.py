#!/usr/bin/env python3
"""A chat client with two threads: one waits for the keyboard, one for the socket. For chat_server.py and for vang. Run it as
    python3 chat_client.py HOST PORT NAME        (Ctrl-D or Ctrl-C ends it)"""
import socket, sys, threading

def send_what_is_typed(sock):
    try:
        for line in sys.stdin:
            sock.sendall(line.encode("utf-8"))
        sock.shutdown(socket.SHUT_WR)  # the server reads the end of the stream, answers, and closes
    except OSError:
        pass  # the server has closed: the other thread sees it, too

def main(host, port, name):
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(f"{name}\n".encode("utf-8"))
        # A daemon: when the server closes, nobody waits for another line from the keyboard.
        threading.Thread(target=send_what_is_typed, args=[sock], daemon=True).start()
        for line in sock.makefile("rb"):
            text = line.decode("utf-8", "replace")
            print("".join(char for char in text if char.isprintable()), flush=True)  # no control of the terminal

if len(sys.argv) != 4:
    print(__doc__, file=sys.stderr)
    sys.exit(2)
try:
    main(*sys.argv[1:])
except (OSError, ValueError) as error:
    sys.exit(f"chat_client: {error}")
except KeyboardInterrupt:
    pass
