"""The same two messages with each way to frame them, and a message that breaks it."""
import struct

def fixed(text, size=8):
    data = text.encode()
    if len(data) > size:
        raise ValueError(f"{len(data)} bytes do not fit into {size}")
    return data.ljust(size, b"\0")  # padding

def delimited(text):
    if "\n" in text:
        raise ValueError("the text has the delimiter in it")
    return text.encode() + b"\n"

def prefixed(text):
    data = text.encode()
    return struct.pack("!H", len(data)) + data  # "!": network order; "H": 2 bytes, so at most 65,535

for frame, breaks_it in ((fixed, "too long for it"), (delimited, "two\nlines"), (prefixed, "x" * 70_000)):
    print(f"{frame.__name__:9}", (frame("hi") + frame("chào")).hex(" "))
    try:
        frame(breaks_it)
    except (ValueError, struct.error) as error:
        print(" " * 9, "refused:", error)
