// Text in the encodings that are rarely met.
//
// The browser's TextDecoder knows most of them under another name. koi8-u is left out because browsers decode two letters
// differently: not shown is better than wrong. In Big5 eleven characters have similar but different code points (a wider
// slash); crates/proto/src/encoding.rs lists them.

import { strict } from "./text.js";

/** Python's name to TextDecoder's. */
const LABELS = {
  cp866: "ibm866", cp874: "windows-874", "koi8-r": "koi8-r", "mac-roman": "macintosh",
  "mac-cyrillic": "x-mac-cyrillic", cp932: "shift_jis", shift_jis: "shift_jis", euc_jp: "euc-jp",
  iso2022_jp: "iso-2022-jp", cp949: "euc-kr", euc_kr: "euc-kr", gb2312: "gbk", gbk: "gbk", gb18030: "gb18030",
  big5: "big5", big5hkscs: "big5", cp950: "big5",
};
for (const n of [0, 1, 2, 3, 4, 5, 6, 7, 8]) LABELS[`cp125${n}`] = `windows-125${n}`;
for (const n of [2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16]) LABELS[`iso8859-${n}`] = `iso-8859-${n}`;

/** Characters that browsers decode differently than Python, and so than the sender. */
const JIS = { "∥": "‖", "－": "−", "～": "〜", "￠": "¢", "￡": "£", "￢": "¬" };
const EXCHANGED = {
  shift_jis: JIS, euc_jp: JIS, iso2022_jp: JIS,
  gb2312: { "·": "・", "—": "―" },
  gb18030: { "\u1e3f": "\ue7c7", "\ue7c7": "\u1e3f" },
};

/** `{ text }`, or `{ why: "unknown-encoding" | "damaged" }`. */
export function decodeOther(name, content, byteorder) {
  const encoding = name.toLowerCase();
  const exchanged = EXCHANGED[encoding] ?? {};
  try {
    const wide = wideText(encoding, byteorder, content);
    if (wide !== null) return { text: wide };
    if (!Object.hasOwn(LABELS, encoding)) return { why: "unknown-encoding" };
    const text = strict(LABELS[encoding], content, true);
    return { text: Object.keys(exchanged).length ? Array.from(text, (character) => exchanged[character] ?? character).join("") : text };
  } catch {
    return { why: "damaged" };
  }
}

/** UTF-16 and UTF-32; null for other encodings. */
function wideText(encoding, byteorder, content) {
  const wide = /^utf-(16|32)(-le|-be)?$/.exec(encoding);
  if (!wide) return null;
  const [, bits, order] = wide;
  const size = bits / 8;
  let isLittle = order ? order === "-le" : byteorder === "little";
  let skip = 0;
  if (!order) {
    // Without an order in the name, a byte order mark decides; it is not part of the text.
    const mark = size === 2 ? [0xff, 0xfe] : [0xff, 0xfe, 0, 0];
    const marked = (expected) => expected.every((byte, i) => content[i] === byte);
    if (marked(mark)) [isLittle, skip] = [true, size];
    else if (marked(mark.toReversed?.() ?? [...mark].reverse())) [isLittle, skip] = [false, size];
  }
  if (size === 4) return utf32(content.subarray(skip), isLittle);
  return strict(`utf-16${isLittle ? "le" : "be"}`, content.subarray(skip), true);
}

function utf32(bytes, isLittle) {
  if (bytes.length % 4) throw new RangeError("cut");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    const character = String.fromCodePoint(view.getUint32(at, isLittle));
    if (/\p{Surrogate}/u.test(character)) throw new RangeError("surrogate");
    text += character;
  }
  return text;
}
