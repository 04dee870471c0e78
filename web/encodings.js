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
export function decodeOther(name, content) {
  const encoding = name.toLowerCase();
  if (!Object.hasOwn(LABELS, encoding)) return { why: "unknown-encoding" };
  const exchanged = EXCHANGED[encoding] ?? {};
  try {
    const text = strict(LABELS[encoding], content, true);
    return { text: Object.keys(exchanged).length ? Array.from(text, (character) => exchanged[character] ?? character).join("") : text };
  } catch {
    return { why: "damaged" };
  }
}
