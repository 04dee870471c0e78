#!/usr/bin/env python3
"""Writes frames.txt and session.txt: bytes, and what a receiver makes of them, stated by hand.

Standard library only; on a little-endian machine: cd crates/proto/vectors && python3.11 frames.py
"""

import json
import pathlib
import sys

from guide import framed, hexed, message, response

HERE = pathlib.Path(__file__).resolve().parent
FOUR = {"byteorder": "little", "content-type": "a", "content-encoding": "b", "content-length": 0}


def header(**more):
    """A header with the four keys; `_` stands for `-`, and a value of None leaves a key out."""
    keys = {**FOUR, **{key.replace("_", "-"): value for key, value in more.items()}}
    return json.dumps({key: value for key, value in keys.items() if value is not None}).encode()


def with_length(length, content=b""):
    return framed(header().replace(b'"content-length": 0', b'"content-length": ' + length), content)


def frame_cases():
    ok = 'frame: byteorder="little" content-type="a" content-encoding="b" content-length=0'
    yield "nothing", b"", "incomplete: nothing"
    yield "one-length-byte", b"\0", "incomplete: header"
    yield "length-only", b"\0\x40", "incomplete: header"
    yield "cut-header", b"\0\x40{\"byte", "incomplete: header"
    yield "all-but-one-header-byte", framed(header())[:-1], "incomplete: header"
    yield "no-content-yet", with_length(b"3"), "incomplete: content"
    yield "cut-content", with_length(b"3", b"ab"), "incomplete: content"
    yield "content-of-1-MiB-to-come", with_length(b"1048576", b"a"), "incomplete: content"
    yield "smallest", framed(header()), ok
    yield "content", with_length(b"3", b"abc"), ok.replace("=0", "=3")
    yield "content-is-any-bytes", with_length(b"6", b"\0\xff{}\r\n"), ok.replace("=0", "=6")
    yield "content-that-looks-like-a-frame", with_length(b"4", b"\0\2{}"), ok.replace("=0", "=4")
    yield "two", framed(header()) * 2, f"{ok} | {ok}"
    yield "two-and-a-beginning", framed(header()) * 2 + b"\0", f"{ok} | {ok} | incomplete: header"
    yield "good-then-bad", framed(header()) + b"\0\2{}" + framed(header()), (
        f"{ok} | malformed: missing required header 'byteorder'")
    yield "content-of-1-MiB", with_length(b"1048576", b"x" * 1048576), ok.replace("=0", "=1048576")
    yield "big", framed(header(byteorder="big")), ok.replace("little", "big")
    yield "empty-type-and-encoding", framed(header(content_type="", content_encoding="")), (
        'frame: content-type="" content-encoding=""')
    yield "type-of-255-bytes", framed(header(content_type="t" * 255)), f'frame: content-type="{"t" * 255}"'
    yield "type-beyond-ascii", framed(header(content_type="ü").replace(b"\\u00fc", "ü".encode())), 'frame: content-type="ü"'
    yield "header-of-65535-bytes", framed(header(pad=" " * (65535 - len(header(pad=""))))), ok
    yield "space-around-everything", framed(
        b'{ "byteorder"\t:\r\n"little" , "content-type":"a","content-encoding":"b" ,"content-length": 0 } \n'), ok
    yield "unknown-keys", framed(
        header()[:-1] + b', "x":[1,{"y":1e400}],"":null,"z":-0.5,"\\ud83d\\udc36":"\xf0\x9f\x90\xb6"}'), (
        'frame: x=[1,{"y":1e400}] =null z=-0.5 🐶="🐶"')
    yield "number-keeps-its-digits", framed(header()[:-1] + b',"n":123456789012345678901234567890}'), (
        "frame: n=123456789012345678901234567890")
    yield "key-with-escapes", framed(header().replace(b"content-type", rb"content\u002dtype")), ok
    yield "value-with-escapes", framed(header(content_type="\"\\/\b\f\n\r\t\0é🐶")), (
        r'frame: content-type="\"\\/\b\f\n\r\t\u0000é🐶"')
    yield "key-twice", framed(b'{"content-length":9,' + header()[1:-1] + b',"content-type":"last","x":1,"x":2}'), (
        'frame: content-length=0 content-type="last" x=2')
    yield "deep-in-a-key-that-nobody-reads", framed(header()[:-1] + b',"x":' + b"[" * 20000 + b"]" * 20000 + b"}"), ok
    yield "lone-surrogate-in-a-key-that-nobody-reads", framed(header(x="\ud800")), r'frame: x="\ud800"'
    yield "lone-surrogate-in-a-value", framed(header(content_type="\ud800")), (
        r"""malformed: header 'content-type' is "\ud800"; it must be a string""")
    yield "length-0", b"\0\0", "malformed: header of 0 bytes is too short to be a JSON object"
    yield "length-1", b"\0\1{", "malformed: header of 1 bytes is too short to be a JSON object"
    yield "empty-object", b"\0\2{}", "malformed: missing required header 'byteorder'"
    # The guide's order, not the header's: with several missing, all implementations name the same one.
    for key in ["byteorder", "content-length", "content-type", "content-encoding"]:
        yield f"no-{key}", framed(header(**{key.replace("-", "_"): None})), f"malformed: missing required header '{key}'"
    yield "no-content-keys", framed(b'{"byteorder":"little"}'), "malformed: missing required header 'content-length'"
    yield "key-in-another-case", framed(header().replace(b"content-type", b"Content-Type")), (
        "malformed: missing required header 'content-type'")
    for name, text, found, why in [
        ("negative", b"-1", "-1", ""), ("minus-zero", b"-0", "-0", ""), ("string", b'"5"', '"5"', ""),
        ("float", b"5.0", "5.0", ""), ("exponent", b"1e3", "1e3", ""), ("null", b"null", "null", ""),
        ("true", b"true", "true", ""), ("list", b"[5]", "[5]", ""), ("empty-string", b'""', '""', ""),
        ("2-to-64", b"18446744073709551616", "18446744073709551616", ""),
        ("60-digits", b"1" * 60, "1" * 40 + "...", ""),
    ]:
        yield f"content-length-{name}", with_length(text), (
            f"malformed: header 'content-length' is {found}; it must be an integer from 0")
    for name, length in [("limit-and-1", 1048577), ("2-to-62", 2**62), ("2-to-64-less-1", 2**64 - 1)]:
        yield f"content-length-{name}", with_length(str(length).encode()), (
            f"malformed: content of {length} bytes exceeds the limit of 1048576")
    for key in ["byteorder", "content-type", "content-encoding"]:
        expected = '"little" or "big"' if key == "byteorder" else "a string"
        for name, value in [("null", None), ("number", 1), ("list", ["a"])]:
            text = header().replace(json.dumps({key: FOUR[key]})[1:-1].encode(), json.dumps({key: value})[1:-1].encode())
            found = json.dumps(value)
            want = "a string" if key == "byteorder" else expected
            yield f"{key}-{name}", framed(text), f"malformed: header '{key}' is {found}; it must be {want}"
    for value in ["Little", "middle", ""]:
        yield f"byteorder-{value or 'empty'}", framed(header(byteorder=value)), (
            f"""malformed: header 'byteorder' is "{value}"; it must be "little" or "big\"""")
    yield "type-of-256-bytes", framed(header(content_type="t" * 256)), (
        f"""malformed: header 'content-type' is "{"t" * 39}...; it must be a string of at most 255 bytes""")
    for name, text, at in [("first", b"\xff" + header(), 0), ("in-a-string", header().replace(b'"a"', b'"\xe4"'), header().index(b'"a"') + 1),
                           ("cut-character", header() + b"\xf0\x9f", len(header())), ("surrogate-as-utf-8", b'{"\xed\xa0\x80":0}', 2),
                           ("overlong", b'{"\xc0\xaf":0}', 2)]:
        yield f"not-utf-8-{name}", framed(text), f"malformed: header is not UTF-8 from byte {at}"
    for name, text, why in [
        ("cut-object", b'{"byteorder": "little"', "EOF while parsing an object at byte 22"),
        ("two-opened", b"{{", "key must be a string at byte 2"),
        ("no-colon", b'{"a" 1}', "expected `:` at byte 6"),
        ("comma-at-the-end", b'{"a":1,}', "trailing comma at byte 8"),
        ("trailing-garbage", header() + b"x", f"trailing characters at byte {len(header()) + 1}"),
        ("two-objects", b"{}{}", "trailing characters at byte 3"),
        ("single-quotes", b"{'a': 1}", "key must be a string at byte 2"),
        ("number-as-key", b"{1: 2}", "key must be a string at byte 2"),
        ("nul-byte-between", b'{"a":\0}', "expected value at byte 6"),
        ("nul-bytes", b"\0\0\0\0", "expected value at byte 1"),
        ("nul-byte-in-a-string", b'{"a":"\0"}', "control character (\\u0000-\\u001F) found while parsing a string at byte 6"),
        ("newline-in-a-string", b'{"a":"\n"}', "control character (\\u0000-\\u001F) found while parsing a string at byte 6"),
        ("wrong-escape", b'{"a":"\\x"}', "invalid escape at byte 8"),
        ("leading-zero", b'{"a":01}', "invalid number at byte 7"),
        ("nan", b'{"a":NaN}', "expected value at byte 6"),
        ("byte-order-mark", b"\xef\xbb\xbf" + header(), "expected value at byte 1"),
        ("spaces", b"    ", "EOF while parsing a value at byte 4"),
    ]:
        yield f"not-json-{name}", framed(text), f"malformed: header is not JSON: {why}"
    for name, text, found in [("list", b"[1, 2]", "[1, 2]"), ("string", b'"abc"', '"abc"'), ("number", b"12", "12"),
                              ("null", b"null", "null"), ("list-of-headers", b"[" + header() + b"]", (b"[" + header())[:40].decode() + "...")]:
        yield f"not-an-object-{name}", framed(text), f"malformed: header must be a JSON object, not {found}"


def reply(status, result, re=None, **keys):
    """A reply as vang writes it."""
    content = json.dumps({"result": result}, ensure_ascii=False).encode()
    head = {"byteorder": sys.byteorder, "content-type": "text/json", "content-encoding": "utf-8", "content-length": len(content)}
    given = {} if re is None else {"re": re}
    return framed(json.dumps({**head, **given, "status": status, **keys}, ensure_ascii=False).encode(), content)


def error(code, detail, re=None, **keys):
    return reply("error", f"Error: {detail}", re, code=code, detail=detail, **keys)


def vang(content=b"", content_type="text/plain", encoding="utf-8", **keys):
    return message(content, content_type, encoding, **keys)


def with_re(frame, raw, key=b'"re": '):
    """The frame with another `re` in place of 0, which need not be JSON as this program would write it."""
    length = int.from_bytes(frame[:2], "big")
    return framed(frame[2:2 + length].replace(key + b"0", key + raw), frame[2 + length:])


def asks(**keys):
    """A request of vang's in JSON content."""
    return message(json.dumps(keys, ensure_ascii=False).encode(), "text/json", "utf-8")


def missing(key, re=None):
    return error("bad-request", f"missing argument '{key}'", re, key=key)


def wrong(key, found, expected, re=None):
    return error("bad-request", f"argument '{key}' is {found}; it must be {expected}", re, key=key)


KNOWN = (
    "hello, sign-in, sign-out, ping, send, follow, history, find, rooms, who, create, join, leave, topic, account-add, "
    "account-role, account-disable, account-delete, account-enable, password, token-create, "
    "invite, invitations, invitation-end, accept, sessions, session-end, status"
)


def unknown(action, re=None):
    return error("unknown-action", f"unknown action '{action}'; known are {KNOWN}", re)


def bad_content(detail, code="malformed"):
    return error(code, detail, part="content")


def session_cases():
    """Name, bytes in, bytes out, `open` or `ends`: does the session take another request?"""
    ring = message(b'{"action": "search", "value": "ring"}', "text/json", "utf-8")
    found = response(ring)
    kept = message(b'{"action": "search", "value": "ring"}', "text/json", "utf-8", connection="keep-alive")
    yield "guide", ring, found, "ends"
    yield "guide-twice-second-dropped", ring + ring, found, "ends"
    yield "guide-then-garbage-dropped", ring + b"\xff" * 100, found, "ends"
    yield "guide-keep-alive", kept, found, "open"
    yield "guide-keep-alive-twice", kept + kept, found + found, "open"
    yield "guide-keep-alive-then-not", kept + ring + kept, found + found, "ends"
    yield "guide-connection-of-another-kind", message(b"", "x", "y", connection="close"), response(message(b"", "x", "y")), "ends"
    yield "cut", ring[:-1], b"", "open"
    # The frame is at fault: every part, every code.
    yield "empty-header", b"\0\2{}", error("malformed", "missing required header 'byteorder'", part="header", key="byteorder"), "ends"
    yield "zero-length", b"\0\0" + ring, error(
        "malformed", "header of 0 bytes is too short to be a JSON object", part="header"), "ends"
    yield "header-list", framed(b"[1]"), error("malformed", "header must be a JSON object, not [1]", part="header"), "ends"
    yield "header-not-utf-8", framed(b'{"\xff"'), error("malformed", "header is not UTF-8 from byte 2", part="header"), "ends"
    yield "header-not-json", framed(b"{{"), error(
        "malformed", "header is not JSON: key must be a string at byte 2", part="header"), "ends"
    yield "content-length-string", with_length(b'"5"'), error(
        "malformed", "header 'content-length' is \"5\"; it must be an integer from 0", part="header", key="content-length"), "ends"
    yield "too-long-before-it-comes", with_length(b"1048577"), error(
        "too-long", "content of 1048577 bytes exceeds the limit of 1048576", part="content", found=1048577, limit=1048576), "ends"
    yield "too-long-by-far", with_length(str(2**62).encode()), error(
        "too-long", f"content of {2**62} bytes exceeds the limit of 1048576", part="content", found=2**62, limit=1048576), "ends"
    yield "good-then-bad", kept + b"\0\2{}" + kept, found + error(
        "malformed", "missing required header 'byteorder'", part="header", key="byteorder"), "ends"
    # The guide's content is at fault.
    for name, content, detail in [
        ("not-json", b"{", "content is not JSON: EOF while parsing an object at line 1 column 1"),
        ("empty", b"", "content is not JSON: EOF while parsing a value at line 1 column 0"),
        ("trailing-garbage", b"{}x", "content is not JSON: trailing characters at line 1 column 3"),
        ("lone-nul", b"\0", "content is not JSON: expected value at line 1 column 1"),
        ("list", b'["action"]', 'content must be a JSON object, not ["action"]'),
        ("string", b'"search"', 'content must be a JSON object, not "search"'),
        ("null", b"null", "content must be a JSON object, not null"),
        ("not-utf-8", b'{"action": "\xe4"}', "content is not utf-8: byte 0xe4 at offset 12"),
        ("cut-character", b'{"action": "\xf0\x9f', "content is not utf-8: truncated character at offset 12"),
        ("byte-order-mark", b"\xef\xbb\xbf{}", "content is not JSON: expected value at line 1 column 1"),
        ("129-deep", b'{"value":' + b"[" * 128 + b"]" * 128 + b"}", "content is nested 129 levels deep; at most 128 are read"),
        ("deep", b"[" * 500000, "content is nested 500000 levels deep; at most 128 are read"),
    ]:
        yield f"content-{name}", message(content, "text/json", "utf-8"), bad_content(detail), "ends"
    deep = message(b'{"action":' + b"[" * 127 + b"]" * 127 + b"}", "text/json", "utf-8")
    yield "content-128-deep", deep, message(
        b'{"result": "Error: invalid action \'' + b"[" * 127 + b"]" * 127 + b"'.\"}", "text/json", "utf-8"), "ends"
    for name, content, encoding, detail in [
        ("utf-16-odd", b"{\0}", "utf-16", "content is not utf-16: truncated character at offset 2"),
        ("utf-16-lone-surrogate", b"{\0\0\xdc", "utf-16-le", "content is not utf-16-le: lone surrogate 0xdc00 at offset 2"),
        ("utf-32-beyond", b"\0\0\x11\0", "utf-32-le", "content is not utf-32-le: 0x110000, beyond U+10FFFF, at offset 0"),
        ("ascii", b"\x80", "ascii", "content is not ascii: byte 0x80 at offset 0"),
        ("cp1252-undefined", b"\x81", "cp1252", "content is not cp1252: byte 0x81 at offset 0"),
        ("shift_jis-cut", b"{\x93", "shift_jis", "content is not shift_jis: truncated character at offset 1"),
    ]:
        yield f"content-{name}", message(content, "text/json", encoding), bad_content(detail), "ends"
    for name, encoding in [("none", ""), ("binary", "binary"), ("klingon", "klingon"), ("nul", "utf-8\0"), ("long", "x" * 255)]:
        shown = encoding[:40] + "..." * (len(encoding) > 40)
        yield f"unknown-encoding-{name}", message(b"{}", "text/json", encoding), bad_content(
            f"unknown content-encoding '{shown}'", "unknown-encoding"), "ends"
    yield "lone-surrogate-as-action", message(rb'{"action": "\ud800"}', "text/json", "utf-8"), message(
        '{"result": "Error: invalid action \'\ufffd\'."}'.encode(), "text/json", "utf-8"), "ends"
    # Requests of vang's that are refused before anybody is asked; the connection goes on.
    yield "unknown-action", vang(action="sing", re=7), unknown("sing", 7), "open"
    yield "unknown-action-long", vang(action="é" * 41), unknown("é" * 40 + "..."), "open"
    yield "unknown-action-search", vang(action="search", re=None), with_re(unknown("search", 0), b"null"), "open"
    yield "action-number", vang(action=5), wrong("action", "5", "a string"), "open"
    yield "action-null", vang(action=None, id="x"), wrong("action", "null", "a string", "x"), "open"
    yield "action-in-both-the-header-counts", message(
        b'{"action": "search", "value": "ring"}', "text/json", "utf-8", action="sing"), unknown("sing"), "open"
    for action in ["send", "follow", "history", "create", "join", "leave"]:
        yield f"{action}-without-room", vang(action=action, re="r"), missing("room", "r"), "open"
        if action != "follow":
            yield f"{action}-room-number", vang(action=action, room=1), wrong("room", "1", "a string"), "open"
    yield "topic-two-lines", vang(action="topic", room="general", topic="a\nb"), wrong(
        "topic", json.dumps("a\nb"), "one line without control characters"), "open"
    yield "find-without-query", vang(action="find", re=1), missing("query", 1), "open"
    yield "find-query-number", vang(action="find", query=1), wrong("query", "1", "a string"), "open"
    yield "find-query-1025-bytes", vang(action="find", query="ü" * 512 + "x"), error(
        "bad-request", "query of 1025 bytes; it must be at most 1024", key="query"), "open"
    yield "find-before-text", vang(action="find", query="x", before="1"), wrong(
        "before", '"1"', "an integer from 0"), "open"
    yield "who-without-room", vang(action="who"), missing("room"), "open"
    yield "account-add-without-name", vang(action="account-add"), missing("name"), "open"
    yield "follow-rooms-text", vang(action="follow", rooms="general"), wrong("rooms", '"general"', "a list of room names"), "open"
    yield "follow-no-rooms", vang(action="follow", rooms=[]), wrong(
        "rooms", "[]", "a list of at least one room name"), "open"
    yield "follow-1025-rooms", vang(action="follow", rooms=["r"] * 1025), error(
        "too-many", "1025 rooms; one follow takes 1 to 1024", limit=1024), "open"
    yield "follow-since-text", vang(action="follow", room="r", since="1"), wrong(
        "since", '"1"', "an integer from 0, or a list of them"), "open"
    yield "follow-since-two-for-one", vang(action="follow", room="r", since=[1, 2]), wrong(
        "since", "[1, 2]", "one number for each room"), "open"
    yield "follow-seq-without-journal", vang(action="follow", room="r", seq=1), missing("journal"), "open"
    yield "follow-seq-negative", vang(action="follow", room="r", seq=-1), wrong("seq", "-1", "an integer from 0"), "open"
    yield "history-limit-float", vang(action="history", room="r", limit=1.0), wrong("limit", "1.0", "an integer from 1"), "open"
    yield "history-limit-zero", vang(action="history", room="r", limit=0), wrong("limit", "0", "an integer from 1"), "open"
    yield "rooms-limit-zero", vang(action="rooms", limit=0), wrong("limit", "0", "an integer from 1"), "open"
    yield "rooms-after-text", vang(action="rooms", after="1"), wrong("after", '"1"', "an integer from 0"), "open"
    yield "find-limit-zero", vang(action="find", query="x", limit=0), wrong("limit", "0", "an integer from 1"), "open"
    yield "create-access", vang(action="create", room="r", access="secret"), wrong(
        "access", '"secret"', '"public" or "private"'), "open"
    yield "as-number", vang(action="ping", **{"as": 1}), wrong("as", "1", "a string"), "open"
    yield "id-empty", vang(action="send", room="r", id=""), error(
        "bad-request", "id of 0 bytes; it must be 1 to 128", "", key="id"), "open"
    yield "id-of-129-bytes", vang(action="send", room="r", id="i" * 129), error(
        "bad-request", "id of 129 bytes; it must be 1 to 128", key="id"), "open"
    yield "id-number", vang(action="send", room="r", id=5), wrong("id", "5", "a string", 5), "open"
    escaped = b'"' + rb"\u00e9" * 64 + b'"'
    yield "id-with-escapes-is-given-back-as-text", with_re(vang(action="sing", id=0), escaped, b'"id": '), unknown("sing", "é" * 64), "open"
    yield "re-of-128-bytes", vang(action="sing", re="r" * 126), unknown("sing", "r" * 126), "open"
    yield "re-of-129-bytes", vang(action="sing", re="r" * 127), wrong(
        "re", '"' + "r" * 39 + "...", "at most 128 bytes of JSON"), "open"
    yield "re-any-json", with_re(vang(action="sing", re=0), b'{"a":[1,"\\ud800"]}'), with_re(
        unknown("sing", 0), b'{"a":[1,"\\ud800"]}'), "open"
    yield "two-refusals-in-order", vang(action="a", re=1) + vang(action="b", re=2), unknown("a", 1) + unknown("b", 2), "open"
    yield "send-in-an-unknown-encoding", vang(b"x", encoding="klingon", action="send", room="r", re=1), bad_content(
        "unknown content-encoding 'klingon'", "unknown-encoding"), "ends"
    yield "send-not-in-its-encoding", vang(b"\xff", action="send", room="r", re=1), bad_content(
        "content is not utf-8: byte 0xff at offset 0"), "ends"
    # The same in JSON content: without keep-alive the connection ends with the answer.
    yield "content-form-send-without-text", asks(action="send", room="r", re=1), missing("text", 1), "ends"
    yield "content-form-follow", asks(action="follow", room="r"), error(
        "bad-request", "'follow' answers with more than one value: put its arguments into the header", key="action"), "ends"
    yield "content-form-history", asks(action="history", room="r", id="h"), error(
        "bad-request", "'history' answers with more than one value: put its arguments into the header", "h", key="action"), "ends"
    yield "content-form-keep-alive", message(b'{"action": "leave"}', "text/json", "utf-8", connection="keep-alive"), (
        missing("room")), "open"
    yield "content-form-room-null", asks(action="join", room=None), wrong("room", "null", "a string"), "ends"


def write(name, what, lines):
    head = f"# {what}, made by vectors/frames.py; README.md says how to read it."
    (HERE / name).write_text("\n".join([head, *lines]) + "\n")


if __name__ == "__main__":
    assert sys.byteorder == "little"
    write("frames.txt", "Frames: NAME BYTES EXPECTATION",
          [f"{name}  {hexed(data)}  {expectation}" for name, data, expectation in frame_cases()])
    write("session.txt", "A server's session: NAME IN OUT open|ends",
          [f"{name}  {hexed(data)}  {hexed(out)}  {then}" for name, data, out, then in session_cases()])
