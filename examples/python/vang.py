"""The message format for Python: reads whole messages from a byte stream and writes them. Import it; it does nothing by itself.
A stream is a binary file on a socket: `connect` makes one, `socketserver` hands out two (rfile and wfile)."""
import codecs, json, socket, sys

CONTENT_BYTES_MAX = 1 << 20  # a vang server's default; a peer cannot make us keep more

def connect(host, port, silence=None):  # maximum silence of the peer in seconds; None: no limit
    return socket.create_connection((host, int(port)), silence).makefile("rwb")

def read_exactly(stream, count):
    data = stream.read(count)  # waits for all bytes
    if len(data) < count:
        raise EOFError(f"the peer closed after {len(data)} of {count} bytes")
    return data

def read_message(stream):
    """The next (header, content). EOFError when the peer has closed."""
    length = int.from_bytes(read_exactly(stream, 2), "big")
    header = json.loads(read_exactly(stream, length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    for key in ("byteorder", "content-type", "content-encoding", "content-length"):
        if key not in header:
            raise ValueError(f"missing required header '{key}'")
    size = header["content-length"]
    if type(size) is not int or not 0 <= size <= CONTENT_BYTES_MAX:
        raise ValueError(f"content-length is {size!r}, not an integer from 0 to {CONTENT_BYTES_MAX}")
    return header, read_exactly(stream, size)

def write_message(stream, content, type="text/json", encoding="utf-8", **keys):
    header = {"byteorder": sys.byteorder, "content-type": type, "content-encoding": encoding,
              "content-length": len(content), **keys}
    data = json.dumps(header, ensure_ascii=False).encode("utf-8")
    stream.write(len(data).to_bytes(2, "big") + data + content)
    stream.flush()

def text(header, content):
    """Content as text. Without a byte order mark, the sender's byte order decides how UTF-16 and UTF-32 are read."""
    encoding = codecs.lookup(header["content-encoding"]).name
    marks = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE
    if encoding in ("utf-16", "utf-32") and not content.startswith(marks):
        encoding += "-le" if header["byteorder"] == "little" else "-be"
    return content.decode(encoding)
