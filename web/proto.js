// Messages of docs/PROTOCOL.md: bytes in any pieces in, whole messages out.
//
//     | header length: u16 big-endian | header: a JSON object in UTF-8 | content: `content-length` bytes |
//
// No socket and no clock. A header keeps every value's text (a number its digits). Malformed bytes end the
// stream: after one bad length no message boundary can be trusted.

const HEADER_BYTES_MAX = 65_535; // what two length bytes can say
const CONTENT_BYTES_MAX = 1 << 20; // a server's default
const TYPE_BYTES_MAX = 255; // of a content-type or content-encoding
const LENGTH_MAX = 2n ** 64n - 1n;

/** The bytes are not a message. Always fatal to the connection. */
export class Malformed extends Error {}

/** A parsed header with its four required keys checked. */
export class Header {
  #raws;

  /** Parses a header's bytes; throws `Malformed`. */
  constructor(bytes) {
    const json = utf8(bytes);
    try {
      var parsed = JSON.parse(json);
    } catch (error) {
      throw new Malformed(`header is not JSON: ${error.message}`);
    }
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
      throw new Malformed(`header must be a JSON object, not ${excerpt(json.trim())}`);
    }
    this.#raws = members(json);
    // In the tutorial's order, so that all implementations name the same missing key.
    for (const key of ["byteorder", "content-length", "content-type", "content-encoding"]) {
      if (!this.#raws.has(key)) throw new Malformed(`missing required header '${key}'`);
    }
    const order = this.#required("byteorder");
    if (order !== "little" && order !== "big") throw this.#wrong("byteorder", '"little" or "big"');
    const length = this.#raws.get("content-length");
    if (!/^\d+$/.test(length) || BigInt(length) > LENGTH_MAX) throw this.#wrong("content-length", "an integer from 0");
    for (const key of ["content-type", "content-encoding"]) {
      if (new TextEncoder().encode(this.#required(key)).length > TYPE_BYTES_MAX) {
        throw this.#wrong(key, `a string of at most ${TYPE_BYTES_MAX} bytes`);
      }
    }
  }

  /** A key's value as JSON text; the last one of a repeated key. */
  raw(key) {
    return this.#raws.get(key) ?? null;
  }

  /** A key's value if it is a string; null for anything else, and for escapes that are not characters. */
  text(key) {
    const raw = this.raw(key);
    if (!raw?.startsWith('"')) return null;
    const text = JSON.parse(raw);
    return /\p{Surrogate}/u.test(text) ? null : text;
  }

  /** A key's value if it is an integer from 0 that a JavaScript number can hold; otherwise null. */
  number(key) {
    const raw = this.raw(key);
    return /^\d+$/.test(raw ?? "") && Number.isSafeInteger(Number(raw)) ? Number(raw) : null;
  }

  #required(key) {
    const text = this.text(key);
    if (text === null) throw this.#wrong(key, "a string");
    return text;
  }

  #wrong(key, expected) {
    return new Malformed(`header '${key}' is ${excerpt(this.raw(key))}; it must be ${expected}`);
  }
}

/** Bytes in, messages `{ header, content }` out. */
export class Decoder {
  #limit;
  #buffer = new Uint8Array(0);
  #from = 0; // unread bytes are between these two
  #to = 0;
  #header = null;
  #refused = null;

  constructor(limit = CONTENT_BYTES_MAX) {
    this.#limit = BigInt(limit);
  }

  /** Adds received bytes; drops them after a refusal. */
  feed(bytes) {
    if (this.#refused) return;
    const held = this.#to - this.#from;
    if (this.#to + bytes.length > this.#buffer.length) {
      // Twice the needed size, so that a long content in small pieces is not copied for each of them.
      const room = held + bytes.length > this.#buffer.length / 2 ? 2 * (held + bytes.length) : this.#buffer.length;
      const larger = new Uint8Array(room);
      larger.set(this.#buffer.subarray(this.#from, this.#to));
      [this.#buffer, this.#from, this.#to] = [larger, 0, held];
    }
    this.#buffer.set(bytes, this.#to);
    this.#to += bytes.length;
  }

  /** The next whole message; null while bytes are missing. After a refusal it always throws. */
  poll() {
    if (this.#refused) throw this.#refused;
    try {
      return this.#next();
    } catch (malformed) {
      this.#refused = malformed;
      this.#buffer = new Uint8Array(0);
      this.#from = this.#to = 0;
      throw malformed;
    }
  }

  #next() {
    if (this.#header === null && !this.#takeHeader()) return null;
    const length = this.#header.number("content-length");
    if (this.#to - this.#from < length) return null;
    const message = { header: this.#header, content: this.#take(length) };
    this.#header = null;
    if (this.#from === this.#to) {
      // A connection between two messages holds no buffer.
      this.#buffer = new Uint8Array(0);
      this.#from = this.#to = 0;
    }
    return message;
  }

  #takeHeader() {
    const held = this.#to - this.#from;
    if (held < 2) return false;
    const length = (this.#buffer[this.#from] << 8) | this.#buffer[this.#from + 1];
    if (length < 2) throw new Malformed(`header of ${length} bytes is too short to be a JSON object`);
    if (held < 2 + length) return false;
    this.#from += 2;
    const header = new Header(this.#take(length));
    const content = BigInt(header.raw("content-length"));
    if (content > this.#limit) throw new Malformed(`content of ${content} bytes exceeds the limit of ${this.#limit}`);
    this.#header = header;
    return true;
  }

  #take(count) {
    this.#from += count;
    return this.#buffer.slice(this.#from - count, this.#from);
  }

  /** The incomplete part: nothing (between two messages), header or content. */
  get awaits() {
    if (this.#header) return "content";
    return this.#from < this.#to ? "header" : "nothing";
  }
}

/** A message's bytes: the four required keys, then `keys`, and the content. */
export function encode(keys, content = new Uint8Array(0), type = "text/plain", encoding = "utf-8") {
  const four = {
    byteorder: "little",
    "content-type": type,
    "content-encoding": encoding,
    "content-length": content.length,
  };
  const header = new TextEncoder().encode(JSON.stringify({ ...four, ...keys }));
  if (header.length > HEADER_BYTES_MAX) {
    throw new RangeError(`header of ${header.length} bytes exceeds the limit of ${HEADER_BYTES_MAX}`);
  }
  const bytes = new Uint8Array(2 + header.length + content.length);
  bytes.set([header.length >> 8, header.length & 255]);
  bytes.set(header, 2);
  bytes.set(content, 2 + header.length);
  return bytes;
}

function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Malformed(`header is not UTF-8 from byte ${firstFault(bytes)}`);
  }
}

/** The first byte of invalid UTF-8: there the decoder's replacement differs from the bytes. */
function firstFault(bytes) {
  let at = 0;
  for (const character of new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)) {
    const expected = new TextEncoder().encode(character);
    if (expected.some((byte, i) => bytes[at + i] !== byte)) break;
    at += expected.length;
  }
  return at;
}

/** At most 40 characters of a text. */
function excerpt(found) {
  const characters = [...found.slice(0, 100)];
  return characters.length > 40 ? `${characters.slice(0, 40).join("")}...` : found;
}

/** The texts of the values in a JSON object, which is known to be valid. */
function members(json) {
  const token = /\s*("(?:[^"\\]+|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+)/y;
  const next = () => token.exec(json)[1];
  const raws = new Map();
  next(); // the brace
  for (let key = next(); key !== "}"; key = next()) {
    if (key === ",") continue;
    next(); // the colon
    while (/\s/.test(json[token.lastIndex])) token.lastIndex += 1;
    const from = token.lastIndex;
    for (let depth = 0; ; ) {
      const found = next();
      if (found === "{" || found === "[") depth += 1;
      if (found === "}" || found === "]") depth -= 1;
      if (depth === 0) break;
    }
    raws.set(JSON.parse(key), json.slice(from, token.lastIndex));
  }
  return raws;
}
