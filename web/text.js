// A message's content as text, or why it cannot be shown. Nothing is guessed, replaced or skipped. The server sends an
// encoding's name as Python's canonical name.
//
// UTF-8, ASCII and Latin-1 are here; encodings.js has the others, which are loaded when one is met.

/** `{ text }`, or `{ why: "not-text" | "other-encoding" | "damaged" }`. */
export function textOf({ header, content }) {
  const encoding = header.text("content-encoding").toLowerCase();
  if (encoding === "binary") return { why: "not-text" };
  const decode = decoder(encoding);
  if (!decode) return { why: "other-encoding" };
  try {
    return { text: decode(content) };
  } catch {
    return { why: "damaged" };
  }
}

function decoder(encoding) {
  if (encoding === "ascii") return (bytes) => bytewise(bytes, 0x7f);
  if (encoding === "iso8859-1") return (bytes) => bytewise(bytes, 0xff); // WHATWG's "latin1" is cp1252
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
