#!/usr/bin/env python3
"""Writes guide.txt: requests, and the guide's server's responses to them, made by its own algorithm.

Standard library only; on a little-endian machine: python3.11 -I crates/proto/vectors/guide.py

Two things differ from the guide's server, both where it has no answer. A value that is a list or a dict makes
it fail (`unhashable type`); here, as any other, it has no match. And utf-16 and utf-32 without a byte order mark
it reads in its own byte order; here the header's `byteorder` decides, which is what that key is for.
"""

import io
import json
import pathlib
import re
import struct
import sys

ANSWERS = {
    "morpheus": "Follow the white rabbit. \U0001f430",
    "ring": "In the caves beneath the Misty Mountains. \U0001f48d",
    "\U0001f436": "\U0001f43e Playing ball! \U0001f3d0",
}


def message(content, content_type, encoding, byteorder=sys.byteorder, **more):
    """As the guide's _create_message."""
    header = {"byteorder": byteorder, "content-type": content_type, "content-encoding": encoding,
              "content-length": len(content), **more}
    return framed(json.dumps(header, ensure_ascii=False).encode(), content)


def framed(header, content=b""):
    return struct.pack(">H", len(header)) + header + content


def response(request):
    """As the guide's server: process_protoheader, process_jsonheader, process_request, create_response."""
    (length,) = struct.unpack(">H", request[:2])
    header = json.loads(request[2:2 + length])
    content = request[2 + length:][:header["content-length"]]
    if header["content-type"] != "text/json":
        return message(b"First 10 bytes of request: " + content[:10], "binary/custom-server-binary-type", "binary")
    encoding = header["content-encoding"]
    if encoding.replace("_", "-").lower() in ("utf-16", "utf-32"):
        bits = encoding[-2:]
        marks = {"16": (b"\xff\xfe", b"\xfe\xff"), "32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff")}[bits]
        if not content.startswith(marks):
            encoding = f"utf-{bits}-{header['byteorder'][0]}e"
    asked = json.load(io.TextIOWrapper(io.BytesIO(content), encoding=encoding, newline=""))
    action = asked.get("action")
    if action == "search":
        query = asked.get("value")
        answer = ANSWERS.get(query) if isinstance(query, str) else None
        result = answer or f"No match for '{query}'."
    else:
        result = f"Error: invalid action '{action}'."
    return message(json.dumps({"result": result}, ensure_ascii=False).encode(), "text/json", "utf-8")


def hexed(data):
    """Hex; a byte that stands a hundred times in a row is written once, with its count."""
    pieces = re.split(rb"((?s:(.)\2{99,}))", data)
    return "+".join(piece.hex() if i % 3 == 0 else f"{piece[:1].hex()}*{len(piece)}"
                    for i, piece in enumerate(pieces) if i % 3 != 2 and piece) or "-"


def asked(action, value, encoding="utf-8", named=None, **more):
    text = json.dumps({"action": action, "value": value}, ensure_ascii=False)
    return message(text.encode(encoding), "text/json", named or encoding, **more)


def raw(text, **more):
    return message(text.encode(), "text/json", "utf-8", **more)


def cases():
    for value in ANSWERS:
        yield "search-" + ("dog" if value == "\U0001f436" else value), asked("search", value)
    values = {
        "string": "Morpheus", "empty": "", "quotes": "it's \"so\"", "escapes": "a\\b\n\t\x01\x7f", "nul": "\0",
        "none": None, "true": True, "false": False, "zero": 0, "minus": -1, "integer": 12345678901234567890123,
        "float": 0.1, "whole-float": 1.0, "large-float": 1e16, "small-float": 1e-5, "list": [1, "a", None, [True]],
        "empty-list": [], "dict": {"a": 1, "it's": ["\U0001f436\n"]}, "empty-dict": {}, "long": "x" * 70000,
    }
    for name, value in values.items():
        yield f"no-match-{name}", asked("search", value)
    yield "no-match-missing", raw('{"action": "search"}')
    yield "no-match-number-as-written", raw('{"action": "search", "value": 1E5}')
    yield "search-escaped", raw(r'{"\u0061ction": "search", "value": "\ud83d\udc36"}')
    yield "search-twice-named", raw('{"action": "x", "value": 1, "action": "search", "value": "ring"}')
    yield "search-with-space", raw(' {\n"action"\t:"search",\r\n"value":"ring","more":[{}]} ')
    for name, action in {"word": "double", "none": None, "number": 7, "list": ["search"], "case": "Search"}.items():
        yield f"invalid-action-{name}", asked(action, "x")
    yield "invalid-action-missing", raw("{}")
    yield "binary", message("binaryactionvalue \U0001f436".encode(), "binary/custom-client-binary-type", "binary")
    yield "binary-short", message(b"\0\xff", "binary/custom-client-binary-type", "binary")
    yield "binary-empty", message(b"", "application/octet-stream", "")
    yield "text-of-another-type", message(b'{"action": "search"}', "text/plain", "utf-8")
    yield "type-in-another-case", message(b'{"action": "search"}', "Text/JSON", "no-such-encoding")
    for named in ["latin-1", "latin1", "ISO-8859-1", "L1", "cp1252", "windows-1252", "UTF8", "U8", "utf_8", "Utf 8"]:
        yield f"encoding-{named.replace(' ', '_')}", asked("search", "café ü", named)
    yield "encoding-latin-1-c1", asked("search", "\x80\x9f", "latin-1")
    yield "encoding-cp1252-euro", asked("search", "€ “Straße”", "cp1252")
    yield "encoding-shift_jis", asked("search", "日本語 カナ", "shift_jis")
    yield "encoding-sjis", asked("search", "表示", "sjis")
    yield "encoding-ascii", asked("search", "ring", "ascii")
    yield "encoding-utf-8-sig", asked("search", "ring", "utf-8-sig")
    for bits in ["16", "32"]:
        for order in ["little", "big"]:
            coded = f"utf-{bits}-{order[0]}e"
            mark = "\ufeff".encode(coded)
            text = json.dumps({"action": "search", "value": "\U0001f436"}, ensure_ascii=False).encode(coded)
            other = {"little": "big", "big": "little"}[order]
            yield f"encoding-utf-{bits}-{order}", message(text, "text/json", f"utf-{bits}", order)
            yield f"encoding-utf-{bits}-{order}-mark", message(mark + text, "text/json", f"utf-{bits}", order)
            yield f"encoding-utf-{bits}-{order}-mark-wins", message(mark + text, "text/json", f"utf-{bits}", other)
            yield f"encoding-{coded}", message(text, "text/json", coded, other)
    yield "byteorder-big", asked("search", "ring", byteorder="big")
    yield "unknown-keys", asked("search", "ring", x=[1, {"y": None}], comment="\U0001f436 \"\\\n", id=7, re="abc")
    yield "key-escaped", framed(rb'{"byteord\u0065r":"little","content-type":"text\/json","content-encoding":"utf-8",'
                                rb'"content-length":36}', b'{"action": "search", "value":"ring"}')
    yield "key-twice", framed(b'{"content-length":1,"byteorder":"little","content-type":"a","content-encoding":"utf-8",'
                              b'"content-type":"text/json","content-length":36}', b'{"action": "search", "value":"ring"}')
    content = b'{"action": "search", "value": "morpheus"}'
    short = message(content, "text/json", "utf-8", pad="")
    pad = 65535 - (len(short) - 2 - len(content))
    yield "header-of-65535-bytes", message(content, "text/json", "utf-8", pad=" " * pad)


def main():
    lines = ["# The guide's exchange, made by vectors/guide.py; README.md says how to read it: NAME REQUEST RESPONSE."]
    lines += [f"{name}  {hexed(request)}  {hexed(response(request))}" for name, request in cases()]
    pathlib.Path(__file__).with_suffix(".txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    assert sys.byteorder == "little"
    main()
