// A message's content as text, or why it cannot be shown. Nothing is guessed, replaced or skipped. The server sends an
// encoding's name as Python's canonical name.
//
// Unicode, ASCII and Latin-1 are here; encodings.js has the others, which are loaded when one is met.

/** `{ text }`, or `{ why: "not-text" | "other-encoding" | "damaged" }`. */
export function textOf({ header, content }) {
  const encoding = header.text("content-encoding").toLowerCase();
  if (encoding === "binary") return { why: "not-text" };
  const decode = decoder(encoding, header.text("byteorder"), content);
  if (!decode) return { why: "other-encoding" };
  try {
    return { text: decode(content) };
  } catch {
    return { why: "damaged" };
  }
}

function decoder(encoding, byteorder, content) {
  if (encoding === "ascii") return (bytes) => bytewise(bytes, 0x7f);
  if (encoding === "iso8859-1") return (bytes) => bytewise(bytes, 0xff); // WHATWG's "latin1" is cp1252
  const wide = /^utf-(16|32)(-le|-be)?$/.exec(encoding);
  if (wide) {
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
    if (size === 4) return (bytes) => utf32(bytes.subarray(skip), isLittle);
    return (bytes) => strict(`utf-16${isLittle ? "le" : "be"}`, bytes.subarray(skip), true);
  }
  return encoding.startsWith("utf-8") ? (bytes) => strict("utf-8", bytes, encoding !== "utf-8-sig") : null;
}

export function strict(label, bytes, ignoreBOM) {
  return new TextDecoder(label, { fatal: true, ignoreBOM }).decode(bytes);
}

function bytewise(bytes, max) {
  let text = "";
  for (const byte of bytes) {
    if (byte > max) throw new RangeError(`byte ${byte}`);
    text += String.fromCharCode(byte);
  }
  return text;
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
