// The message format for Node: reads whole messages from a socket and writes them. Import it; it does nothing by itself.
// Open sockets with allowHalfOpen: the other side may close its half first.
import { endianness } from "node:os";
const CONTENT_BYTES_MAX = 1 << 20; // a vang server's default; a peer cannot make us keep more

/** Yields every { header, content } until the peer closes. */
export async function* messages(socket) {
  const pieces = socket.on("error", () => {}).iterator({ destroyOnReturn: false }); // `next` throws the error
  let rest = Buffer.alloc(0);
  async function take(count, part) { // exactly `count` bytes, in any pieces
    const held = [rest];
    for (let size = rest.length; size < count; size += held.at(-1).length) {
      const { value, done } = await pieces.next();
      if (done && part === "length" && size === 0) return null;
      if (done) throw new Error(`the peer closed inside the ${part}, after ${size} of ${count} bytes`);
      held.push(value);
    }
    const bytes = Buffer.concat(held);
    rest = bytes.subarray(count);
    return bytes.subarray(0, count);
  }
  for (let length; (length = await take(2, "length")); ) {
    const json = new TextDecoder("utf-8", { fatal: true }).decode(await take(length.readUInt16BE(), "header"));
    const header = JSON.parse(json), size = header["content-length"];
    for (const key of ["byteorder", "content-type", "content-encoding", "content-length"])
      if (!Object.hasOwn(header, key)) throw new Error(`missing required header '${key}'`);
    if (!Number.isInteger(size) || size < 0 || size > CONTENT_BYTES_MAX) throw new Error(`content-length is ${size}`);
    yield { header, content: await take(size, "content") };
  }
}
export function write(socket, content, type = "text/json", encoding = "utf-8", keys = {}) {
  const header = Buffer.from(JSON.stringify({ byteorder: endianness() === "LE" ? "little" : "big",
    "content-type": type, "content-encoding": encoding, "content-length": content.length, ...keys }));
  socket.write(Buffer.concat([Buffer.from([header.length >> 8, header.length & 255]), header, content]));
}
export function text({ header, content }) {
  const name = header["content-encoding"].toLowerCase().replaceAll("_", "-").replace("latin-1", "latin1");
  const order = header.byteorder === "big" ? "be" : "le"; // plain UTF-16 is in the sender's byte order
  return new TextDecoder(name === "utf-16" ? name + order : name.replace("utf-16-", "utf-16"), { fatal: true }).decode(content);
}
