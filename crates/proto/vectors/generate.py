#!/usr/bin/env python3
"""Writes what vang-proto takes from Python, as CPython 3.11 has it; standard library only:

    src/charmap.rs             names, aliases and tables of the single-byte encodings
    src/python/unprintable.rs  the code points that repr() escapes
    vectors/encodings.txt      cases for encoding.rs
    vectors/python-str.txt     cases for python.rs

Run on a little-endian machine: python3.11 -I crates/proto/vectors/generate.py
"""

import codecs
import encodings
import encodings.aliases
import json
import math
import pathlib
import pkgutil
import random
import struct
import sys

assert sys.version_info[:2] == (3, 11) and sys.byteorder == "little"
HERE = pathlib.Path(__file__).resolve().parent
SRC = HERE.parent / "src"
UNDEFINED = "\ufffe"
MADE = f"made by vectors/generate.py with CPython {sys.version.split()[0]}"
RNG = random.Random(65432)

# Decoded by code of encoding.rs, not by a table.
OWN = ["ascii", "latin_1", "iso8859_1", "utf_8", "utf_8_sig", "utf_16", "utf_16_le", "utf_16_be",
       "utf_32", "utf_32_le", "utf_32_be"]
# Decoded by the crate encoding_rs: (module, text before a pair, text after it).
PAIRS = [("big5", "", ""), ("big5hkscs", "", ""), ("cp932", "", ""), ("cp949", "", ""), ("cp950", "", ""),
         ("euc_jp", "", ""), ("euc_jp", "8f", ""), ("euc_kr", "", ""), ("gb18030", "", ""), ("gb2312", "", ""),
         ("gbk", "", ""), ("iso2022_jp", "1b2442", "1b2842"), ("shift_jis", "", "")]
LIBRARY = sorted({module for module, _, _ in PAIRS})
# Pairs that encoding_rs reads as the character of another pair; encoding.rs names them.
KNOWN = {("big5", ""): "c6de c6df", ("cp950", ""): "c6de c6df", ("euc_jp", "8f"): "a2b7",
         ("gb18030", ""): "a3a0 a6d9 a6da a6db a6dc a6dd a6de a6df a6ec a6ed a6f3 fe59 fe61 fe66 fe67 fe6d fe7e fe90 fea0"}


def single_byte(module):
    """The 256 characters of a charmap codec, or None."""
    there = vars(__import__("encodings." + module, fromlist=["x"]))
    if module in OWN or not ("decoding_table" in there or "decoding_map" in there):
        return None
    return "".join(decoded(bytes([b]), module) or UNDEFINED for b in range(256))


def decoded(data, name):
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        return None


MODULES = {}
for found in pkgutil.iter_modules(encodings.__path__):
    try:
        info = codecs.lookup(found.name)
    except LookupError:
        continue
    if info._is_text_encoding:
        MODULES[found.name] = info.name
TABLES = {module: table for module in sorted(MODULES) if (table := single_byte(module))}
KNOWN_MODULES = set(TABLES) | set(OWN) | set(LIBRARY)


def write_charmap():
    out = [f"//! Tables of the single-byte encodings and every name of an encoding, {MADE}; not edited by hand.",
           "//!", "//! A table gives the characters of its last bytes: 128 entries follow ASCII, 256 stand alone.",
           "//! `0xfffe` marks a byte that the encoding does not define.", ""]
    for label, size in (("UPPER", 128), ("WHOLE", 256)):
        rows = [(m, t[256 - size:]) for m, t in TABLES.items()
                if (t[:128] == bytes(range(128)).decode()) == (size == 128)]
        out += [f"/// Module, canonical name, the characters of bytes {256 - size:#04x} to 0xff.", "#[rustfmt::skip]",
                f"pub(super) static {label}: [(&str, &str, [u16; {size}]); {len(rows)}] = ["]
        for module, table in rows:
            out.append(f'    ("{module}", "{MODULES[module]}", [')
            for i in range(0, size, 16):
                out.append("        " + " ".join(f"{ord(c):#x}," for c in table[i:i + 16]))
            out.append("    ]),")
        out += ["];", ""]
    rows = sorted((a, m) for a, m in encodings.aliases.aliases.items()
                  if m in KNOWN_MODULES and a == a.lower())  # Python looks for lower case only
    out += ["/// Alias, module: sorted by alias.", "#[rustfmt::skip]",
            f"pub(super) static ALIASES: [(&str, &str); {len(rows)}] = ["]
    out += [f'    ("{a}", "{m}"),' for a, m in rows] + ["];", ""]
    (SRC / "charmap.rs").write_text("\n".join(out))


def unprintable():
    ranges = []
    for c in range(0x7F, 0x110000):
        if not chr(c).isprintable():
            if ranges and ranges[-1][1] == c - 1:
                ranges[-1][1] = c
            else:
                ranges.append([c, c])
    return ranges


def write_unprintable():
    import unicodedata
    ranges = unprintable()
    out = [f"//! What `str.isprintable` denies from U+007F on (Unicode {unicodedata.unidata_version}), {MADE};",
           "//! not edited by hand.", "", "/// First and last code point of each range, rising.", "#[rustfmt::skip]",
           f"pub(super) static UNPRINTABLE: [(u32, u32); {len(ranges)}] = ["]
    for i in range(0, len(ranges), 5):
        out.append("    " + " ".join(f"({a:#x}, {b:#x})," for a, b in ranges[i:i + 5]))
    (SRC / "python" / "unprintable.rs").write_text("\n".join(out + ["];", ""]))


def hexed(data):
    return data.hex() or "-"


def case(name, data, byteorder="little"):
    """What Python on a machine of that byte order makes of data: the text, or where it failed."""
    python = name
    boms = {"utf-16": (b"\xff\xfe", b"\xfe\xff"), "utf-32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff")}
    if name in boms and not data.startswith(boms[name]):
        python = name + ("-le" if byteorder == "little" else "-be")
    head = f"decode {name.replace(' ', '_')} {byteorder} {hexed(data)}"
    try:
        return f"{head} ok {hexed(data.decode(python).encode())}"
    except UnicodeDecodeError as e:
        # utf-8-sig counts from after its mark; vang counts from the start of the content.
        mark = 3 if name == "utf-8-sig" and data.startswith(b"\xef\xbb\xbf") else 0
        return f"{head} bad {e.start + mark}"


def fnv(text):
    h = 0xCBF29CE484222325
    for b in text.encode():
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def pairs(module, before, after):
    left_out = {bytes.fromhex(h) for h in KNOWN.get((module, before), "").split()}
    before, after = bytes.fromhex(before), bytes.fromhex(after)
    first, last = (0x21, 0x7E) if after else (0x81, 0xFE)
    text, ranges = "", []
    for a in range(first, last + 1):
        if not before and decoded(bytes([a]), module) is not None:
            continue
        for b in range(0x21 if after else 0x40, last + 1):
            pair = bytes([a, b])
            one = decoded(before + pair + after, module)
            if one is None or pair in left_out:
                continue
            text += one
            n = a << 8 | b
            if ranges and ranges[-1][1] == n - 1:
                ranges[-1][1] = n
            else:
                ranges.append([n, n])
    spans = ",".join(f"{a:04x}-{b:04x}" for a, b in ranges)
    return f"pairs {MODULES[module]} {hexed(before)} {hexed(after)} {spans} {fnv(text)}", text


def write_encodings():
    out = [f"# What Python makes of names and bytes, {MADE}. Fields are parted by one space; - is nothing.",
           "# name HEX NAME: codecs.lookup of that spelling (hex of UTF-8) finds the encoding of that canonical name,",
           "#   or - when vang does not know it. Text encodings that only Python knows are left out.",
           "# charmap NAME HEX: hex of the UTF-8 of what the 256 bytes mean, U+FFFE where undefined.",
           "# pairs NAME BEFORE AFTER RANGES FNV: the byte pairs that Python reads, in order, each between BEFORE and",
           "#   AFTER; and the 64-bit FNV-1a hash of the UTF-8 of all they mean, strung together.",
           "# decode NAME BYTEORDER HEX ok HEX | bad AT: content in, UTF-8 out, or the offset of the first fault.", ""]

    spellings = set(encodings.aliases.aliases) | set(MODULES) | set(MODULES.values())
    for base in ["utf-8", "latin-1", "utf-16-le", "shift_jis", "iso8859-1", "mac-roman", "cp1252", "euc_kr"]:
        spellings |= {base.upper(), base.replace("-", " "), base.replace("-", "__"), base.replace("-", "."),
                      " " + base, base + "--", base.replace("_", "-"), base.replace("-", ""), base.replace("_", "."),
                      base.replace("-", " -_;"), base + "\u00e9", "\u00fc" + base, base + ".x", base.title()}
    spellings |= {"", "-", "utf", "utf-9", "no such", "aliases", "base64", "hex", "rot13", "binary", "cp0", "ISO_8859-1:1987",
                  "iso-ir-6", "U8", "L1", "646", "..utf-8", "latin.1", "utf.8", "windows-1252", "x" * 300, "utf8mb4",
                  "IBM437", "ms-kanji", "csISOLatin1", "KOI8-R", "koi8_u", "Big5-HKSCS", "big5-tw", "ansi", "mbcs"}
    for spelling in sorted(spellings):
        try:
            name = codecs.lookup(spelling)
            if name._is_text_encoding:
                if name.name not in {MODULES[m] for m in KNOWN_MODULES}:
                    continue
                name = name.name
            else:
                name = "-"
        except (LookupError, UnicodeError, ValueError):
            name = "-"
        out.append(f"name {hexed(spelling.encode())} {name}")

    out.append("")
    for module, table in TABLES.items():
        out.append(f"charmap {MODULES[module]} {table.encode().hex()}")
    out.append("charmap iso8859-1 " + "".join(map(chr, range(256))).encode().hex())
    out.append("charmap ascii " + ("".join(map(chr, range(128))) + UNDEFINED * 128).encode().hex())

    out.append("")
    repertoire = {}
    for row in PAIRS:
        line, text = pairs(*row)
        out.append(line)
        repertoire.setdefault(row[0], "")
        repertoire[row[0]] += text

    out.append("")
    for module, text in repertoire.items():
        name = MODULES[module]
        for _ in range(4):
            said = "".join(RNG.choice([RNG.choice(text), RNG.choice("ab \n~\\")]) for _ in range(30))
            data = said.encode(module)
            out.append(case(name, data))
        # iso2022_jp is stateful: Python and encoding_rs place a fault differently.
        if module != "iso2022_jp":
            out.append(case(name, "ab".encode() + text[:3].encode(module) + b"\xff" * (module != "cp932") + b"c"))
            out.append(case(name, text[:3].encode(module) + text[9].encode(module)[:1]))
    out.append(case("gb18030", "\U0001f430\u20ac\u00e9\u0800\U0010ffff\u1e3f".encode("gb18030")))
    for data in [b"", b"plain", b"\x80", b"abc\xff", b"\xe2\x82", b"a\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80",
                 "gr\u00fc\u00df \U0001f436".encode(), b"\xef\xbb\xbf", b"\xef\xbb\xbfhi", b"\xef\xbbhi", b"\xef\xbb",
                 b"\xef\xbb\xbf\xef\xbb\xbfx", b"\xef\xbb\xbfa\xff"]:
        out += [case(n, data) for n in ("utf-8", "utf-8-sig", "ascii", "iso8859-1", "cp1252")]
    text = "gr\u00fc\u00df \U0001f436\0\uffff"
    wide = []
    for bits, unit in ((16, "H"), (32, "I")):
        for end, mark in (("le", "<"), ("be", ">")):
            one = lambda *units: b"".join(struct.pack(mark + unit, u) for u in units)
            wide += [text.encode(f"utf-{bits}-{end}"), one(0xFEFF, 0x61), one(0xFEFF), one(0xFEFF, 0xFEFF), one(0x61, 0xD800),
                     one(0x61, 0xD800, 0x62), one(0xDC00, 0x61), one(0xD83D, 0xDC36), one(0xD83D, 0xD83D, 0xDC36),
                     one(0xFEFF, 0x61)[:-1], one(0x61)[:-1], one(0x61, 0x62)[:-1], one(0xD800, 0xDC00)[:-1],
                     one(0xFEFF, 0xDC00)]
    wide += [b"", b"\x00", b"\xff", b"\xff\xfe\0", struct.pack("<II", 0x61, 0x110000), struct.pack(">II", 0x61, 0x110000),
             struct.pack("<I", 0x10FFFF), struct.pack("<I", 0xFFFFFFFF)]
    for data in dict.fromkeys(wide):
        for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
            out += [case(name, data, order) for order in ("little", "big")]
    for name in ("cp437", "cp864", "cp037", "cp1252", "cp1253", "iso8859-7", "koi8-r", "mac-roman", "cp424"):
        for _ in range(2):
            out.append(case(name, RNG.randbytes(24)))
    (HERE / "encodings.txt").write_text("\n".join(out) + "\n")


def random_json(depth):
    ws = lambda: RNG.choice(["", "", "", " ", "\n\t", " \r\n"])
    kind = RNG.randrange(12 if depth else 9)
    if kind < 2:
        return RNG.choice(["null", "true", "false"])
    if kind < 3:
        return str(RNG.randrange(-10**RNG.randrange(1, 40), 10**RNG.randrange(1, 40)))
    if kind < 6:
        if RNG.random() < 0.5:
            x = struct.unpack("<d", RNG.randbytes(8))[0]
            if x == x and x not in (float("inf"), float("-inf")):
                return repr(x)
        digits = str(RNG.randrange(10**RNG.randrange(1, 25)))
        fraction = "." + str(RNG.randrange(10**RNG.randrange(1, 25))).zfill(RNG.randrange(1, 9))
        exponent = RNG.choice("eE") + RNG.choice(["", "+", "-"]) + str(RNG.randrange(25))
        return RNG.choice(["", "-"]) + digits + RNG.choice([fraction, exponent, fraction + exponent])
    if kind < 9:
        return random_string()
    if kind < 10 or depth == 1:
        return "[" + ws() + ",".join(ws() + random_json(depth - 1) + ws() for _ in range(RNG.randrange(5))) + "]"
    keys = ['"a"', '"b"', '"\\u0061"', random_string()]
    return "{" + ws() + ",".join(ws() + RNG.choice(keys) + ws() + ":" + ws() + random_json(depth - 1) + ws()
                                  for _ in range(RNG.randrange(6))) + "}"


def random_string():
    some = "abc'\"\\/\u00e9\u00ad\u200b\u3000\u0378\ue000\U0001f430\U000e0001\x7f\x85\xa0"
    out = ""
    for _ in range(RNG.randrange(7)):
        c = RNG.choice(some)
        if RNG.random() < 0.4:
            out += RNG.choice(["\\n", "\\t", "\\r", "\\b", "\\f", "\\/", "\\\\", '\\"', "\\u0000", "\\u001F", "\\u00e9",
                               "\\ud83d\\udc30", "\\uD83D", "\\udc30", "\\u0027"])
        else:
            out += {'"': '\\"', "\\": "\\\\"}.get(c, c)
    return f'"{out}"'


def write_python_str():
    out = [f"# What Python prints and writes, {MADE}.",
           "# str HEX HEX: JSON text; the UTF-8 of str(json.loads(text)). Python can print no lone surrogate: in a string",
           "#   that stands alone, each is U+FFFD here; in lists and dicts Python escapes them itself.",
           "# dump HEX HEX: the UTF-8 of a string; that of json.dumps(string, ensure_ascii=False).", ""]
    texts = ["null", "true", "false", "0", "-0", "-0.0", "0.0", "1e16", "1E5", "1e400", "-1e400", "1e-5", "0.0001", "0.00001234",
             "123456789012345678901234567890", "-7", "1e22", "1e23", "5e-324", "1.7976931348623157e308", "1e-400", "0.1",
             "9007199254740993.0", "1e15", "9999999999999998.0", "12345678901234567.0", "1.0", "100", "2.5e-8", "1e+2", "0e5",
             "9" * 400, "1" * 400 + ".5", '""', '"it\'s"', '"a\\"b"', "[]", "{}", " [ ] ", "\n{ }\t", '["it\'s"]', '["a\\"b"]',
             '["a\\"b\'c"]', '["\\\\"]', '["\\n\\r\\t\\b\\f\\u0000\\u007f\\u0080\\u00a0\\u00ad\\u00ff"]', '"\\ud800"', '["\\ud800"]',
             '"\\udc00\\ud800x"', '"\\ud83d\\ude00"', '["\\ud83d\\ud83d\\ude00"]', '{"a": 1, "b": 2, "a": [3]}',
             '{"a":{"a":1,"a":{"b":2}},"\\u0061":{"x":1,"x":null,"y":true}}', '{"\\ud800":1,"\\ud801":2,"\\ud800":3}',
             '{"":1,"":2}', '[1,"a",null,true,1.50,{"k":[]}]', "[" * 128 + "]" * 128, '{"a":' * 128 + "1" + "}" * 128,
             '"[[[["', '["[","]","{\\"}"]', '{"x":1,"y":2,"z":3,"y":4,"x":5}']
    edges = "".join(chr(c) for a, b in unprintable() for c in (a - 1, a, b, b + 1)
                    if c <= 0x10FFFF and not 0xD800 <= c <= 0xDFFF)
    texts.append(json.dumps([edges], ensure_ascii=False))
    # Halfway between two shortest decimals; on both sides of a power of two, where the gaps differ; powers of ten.
    ties = [RNG.randrange(2**50, 2**53) / 4 for _ in range(50)] + [RNG.randrange(2**49, 2**53) / 16 for _ in range(50)]
    ties += [RNG.randrange(2**53, 2**60) * 2.0**RNG.randrange(8) for _ in range(50)]
    powers = [2.0**n for n in range(-1074, 1024, 23)] + [float(f"1e{n}") for n in range(-323, 309, 5)]
    powers += [math.nextafter(x, 0) for x in powers]
    texts += [json.dumps([float(x) for x in ties]), json.dumps(powers)]
    texts += ["[" + ",".join(f"{x:.25g}e0" for x in ties) + "]"]
    texts += [random_json(4) for _ in range(300)]
    for text in texts:
        said = str(json.loads(text))
        said = "".join("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else c for c in said)
        out.append(f"str {hexed(text.encode())} {hexed(said.encode())}")
    out.append("")
    strings = ["", "plain", '"', "\\", "\\\"", "a\nb\rc\td\be\ff", "".join(map(chr, range(0x20))), "\x7f\x80\u2028\u2029",
               "\U0001f436 gr\u00fc\u00df / '", "\0", "x\x1f", "\x1fx"]
    for s in strings:
        out.append(f"dump {hexed(s.encode())} {hexed(json.dumps(s, ensure_ascii=False).encode())}")
    (HERE / "python-str.txt").write_text("\n".join(out) + "\n")


write_charmap()
write_unprintable()
write_encodings()
write_python_str()
