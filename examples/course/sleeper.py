"""One client of a chat never reads, another talks: python3 sleeper.py HOST PORT. When does the server go on without the sleeper?"""
import select, socket, sys

address = sys.argv[1], int(sys.argv[2])
sleeper = socket.create_connection(address)
sleeper.sendall(b"sleeper\n")
if not sleeper.recv(100, socket.MSG_PEEK):  # waits until it has come; the line stays unread
    sys.exit("the server closed")
talker = socket.create_connection(address)
talker.sendall(b"talker\n")
line, said, tail = b"x" * 900 + b"\n", 0, b""
talker.setblocking(False)
while b"-- sleeper has left" not in tail:
    readable, writable, _ = select.select([talker], [talker], [])
    if readable:
        tail = tail[-100:] + talker.recv(65_536)
    if writable and talker.send(line):  # a piece of a line is a line as well, here
        said += len(line)
print(f"the sleeper was dropped; the talker had sent about {said / 1e6:.0f} MB")
