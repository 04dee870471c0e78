// The lines of encodings.txt against the page's decoders: one function that needs nothing around it, so that it runs
// in Node and, sent over as text, in a browser. Node's own TextDecoder differs from the browsers' outside of Unicode
// (nodejs/node: windows-1252 is read as latin-1, big5 takes the byte ff), so Node judges only those it has right.

/** `where`: the folder of the page's modules, or their bundle. Of the encodings only those that fit `tried`. */
export async function encodings(lines, [where, tried]) {
  const isBundle = where.endsWith(".js");
  const load = async (name) => (isBundle ? (await import(where)).m[name] : import(`${where}${name}`));
  if (isBundle) await import(where.replace("app.js", "later.js"));
  const { textOf } = await load("text.js");
  const { decodeOther } = await load("encodings.js");
  const { Decoder, encode } = await load("proto.js");
  const bytesOf = (hex) => new Uint8Array(hex === "-" ? [] : hex.match(/../g).map((pair) => parseInt(pair, 16)));
  const utf8 = (hex) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytesOf(hex));
  const said = (encoding, byteorder, content) => {
    const decoder = new Decoder();
    decoder.feed(encode({ byteorder }, content, "text/plain", encoding));
    const message = decoder.poll();
    const told = textOf(message);
    return told.why === "other-encoding" ? decodeOther(message.header.text("content-encoding"), message.content, byteorder) : told;
  };
  const result = { read: 0, unread: [], faults: [] };
  const unread = (name) => result.unread.includes(name) || result.unread.push(name);
  const check = (what, found, expected) => {
    result.read += 1;
    if (found !== expected) result.faults.push(`${what}: ${found}, not ${expected}`);
  };
  for (const line of lines) {
    const [kind, name, ...rest] = line.split(" ");
    if (!new RegExp(tried).test(name)) continue;
    if (kind === "decode") {
      const [byteorder, hex, verdict, expected] = rest;
      const found = said(name, byteorder, bytesOf(hex));
      if (found.why === "unknown-encoding") unread(name);
      // Where Python has no character, browsers have a C1 control; no server lets such a content in.
      else if (verdict === "bad" && /[\x80-\x9f]/.test(found.text ?? "") && name.startsWith("cp125")) continue;
      else check(`${name} ${byteorder} ${hex}`, found.text ?? found.why, verdict === "bad" ? "damaged" : utf8(expected));
    }
    if (kind === "charmap") {
      for (const [byte, character] of [...utf8(rest[0])].entries()) {
        const found = said(name, "little", new Uint8Array([byte]));
        if (found.why === "unknown-encoding") unread(name);
        else if (character !== "\ufffe") check(`${name} ${byte.toString(16)}`, found.text ?? found.why, character);
      }
    }
  }
  return result;
}
