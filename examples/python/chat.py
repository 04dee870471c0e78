#!/usr/bin/env python3
"""Send and follow in a room of a vang server. Run it as
    python3 chat.py HOST PORT send ROOM TEXT [AS]          prints the message's address, as general#7
    python3 chat.py HOST PORT follow ROOM [AS] [SINCE]     prints messages, from SINCE + 1 on"""
import sys, uuid
import vang

def send(stream, room, text, name=""):
    keys = {"as": name} if name else {}
    # The id makes a retry after a lost connection safe: the server posts the message once.
    vang.write_message(stream, text.encode("utf-8"), "text/plain", action="send", room=room, id=str(uuid.uuid4()), **keys)
    print(reply(*vang.read_message(stream))["address"])

def follow(stream, room, name="", since=""):
    keys = ({"as": name} if name else {}) | ({"since": int(since)} if since else {})
    vang.write_message(stream, b"", action="follow", room=room, **keys)
    reply(*vang.read_message(stream))
    while stream.peek(1):  # empty once the server has closed
        header, content = vang.read_message(stream)
        if header.get("event") == "message":
            print(f"{header['n']} {header['from']}: {shown(header, content)}", flush=True)
        elif header.get("event") == "hole":
            print(f"hole {header['from']}-{header['to']} {header['why']}", flush=True)

def reply(header, content):
    return header if header["status"] == "ok" else sys.exit(header["detail"])

def shown(header, content):
    try:  # control characters would control the terminal
        return "".join(" " if char < " " or char == "\x7f" else char for char in vang.text(header, content))
    except (LookupError, ValueError):
        return f"({len(content)} bytes of {header['content-type']})"

if len(sys.argv) < 5 or sys.argv[3] not in ("send", "follow"):
    print(__doc__, file=sys.stderr)
    sys.exit(2)
try:
    {"send": send, "follow": follow}[sys.argv[3]](vang.connect(*sys.argv[1:3]), *sys.argv[4:])
except (OSError, EOFError, KeyError, ValueError) as error:
    sys.exit(f"chat: {error!r}")
