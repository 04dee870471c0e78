// The page's codec against the vectors that bind every implementation.
// python-str.txt is not read here: it is about what a server prints, which the page never does.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Decoder, Malformed, encode } from "../proto.js";
import { textOf } from "../text.js";
import { encodings } from "./encodings.mjs";
import { bytes, cuts, vectors } from "./vectors.mjs";

/** What came of a stream: its messages, then what is waited for or wrong. */
function decode(pieces) {
  const decoder = new Decoder();
  const messages = [];
  for (const piece of pieces) {
    decoder.feed(piece);
    try {
      for (let message; (message = decoder.poll()); ) messages.push(message);
    } catch (error) {
      assert(error instanceof Malformed, error.stack);
      assert.throws(() => decoder.poll(), error, "what was refused stays refused");
      return { messages, end: `malformed: ${error.message}` };
    }
  }
  return { messages, end: `incomplete: ${decoder.awaits}` };
}

/** The same with headers as text, so that two outcomes can be compared. */
function outcome(pieces) {
  const { messages, end } = decode(pieces);
  const keys = ["byteorder", "content-type", "content-encoding", "content-length", "action", "x", "n"];
  return { end, messages: messages.map(({ header, content }) => [...keys.map((key) => header.raw(key)), Buffer.from(content).toString("base64")]) };
}

test("every frame is what its vector says, at every split", () => {
  const cases = vectors("frames", 3);
  assert(cases.length > 90);
  for (const [name, hex, expected] of cases) {
    const whole = bytes(hex);
    check(name, expected, decode([whole]));
    const found = outcome([whole]);
    for (const cut of cuts(whole.length)) {
      assert.deepEqual(outcome([whole.subarray(0, cut), whole.subarray(cut)]), found, `${name} cut at ${cut}`);
    }
    const size = whole.length > 10_000 ? 101 : 1; // byte by byte, but a million bytes are not
    const pieces = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) => whole.subarray(i * size, (i + 1) * size));
    assert.deepEqual(outcome(pieces), found, `${name} in pieces of ${size}`);
  }
});

function check(name, expected, { messages, end }) {
  const left = [...messages];
  let awaited = "incomplete: nothing";
  for (const part of expected.split(" | ")) {
    if (part.startsWith("frame: ")) {
      const { header, content } = left.shift() ?? assert.fail(`${name}: no frame`);
      for (const pair of part.slice("frame: ".length).split(" ")) {
        const at = pair.indexOf("=");
        const [key, value] = [pair.slice(0, at), pair.slice(at + 1)];
        const isText = value.startsWith('"') && header.text(key) !== null;
        if (isText) assert.equal(header.text(key), JSON.parse(value), `${name}: ${key}`);
        else assert.equal(header.raw(key), value, `${name}: ${key}`);
      }
      assert.equal(content.length, header.number("content-length"), name);
    } else {
      awaited = part;
    }
  }
  // Another implementation may word what its JSON parser found in its own way.
  const parser = "malformed: header is not JSON: ";
  if (awaited.startsWith(parser)) assert(end.startsWith(parser), `${name}: ${end}`);
  else assert.equal(end, awaited, name);
  assert.deepEqual(left, [], name);
}

test("requests and answers of whole conversations are read, one after another", () => {
  for (const [file, fields] of [["guide", 3], ["session", 4]]) {
    const cases = vectors(file, fields);
    assert(cases.length > 70);
    for (const [name, , answer] of cases) {
      const { messages, end } = decode([bytes(answer)]);
      assert.equal(end, "incomplete: nothing", name);
      for (const { header, content } of messages) {
        const read = textOf({ header, content });
        if (header.text("content-encoding") === "binary") assert.deepEqual(read, { why: "not-text" }, name);
        else assert.equal(typeof JSON.parse(read.text).result, "string", name);
        if (header.text("status") === "error") {
          assert.equal(JSON.parse(read.text).result, `Error: ${header.text("detail")}`, name);
        }
      }
    }
    const stream = Buffer.concat(cases.map(([, , answer]) => bytes(answer)));
    const whole = outcome([stream]);
    for (const size of [1, 2, 3, 255, 256, 4_096, 65_536]) {
      const pieces = [];
      for (let at = 0; at < stream.length; at += size) pieces.push(stream.subarray(at, at + size));
      assert.deepEqual(outcome(pieces), whole, `${file} in pieces of ${size}`);
    }
  }
});

test("what is encoded is decoded, and no header is too long to say so", () => {
  const content = new TextEncoder().encode("xin chào 🐰");
  const sent = encode({ action: "send", room: "phòng", id: "x", n: 7 }, content);
  const [{ header, content: received }] = decode([sent]).messages;
  assert.deepEqual([header.text("action"), header.text("room"), header.number("n")], ["send", "phòng", 7]);
  assert.deepEqual(textOf({ header, content: received }), { text: "xin chào 🐰" });
  assert.throws(() => encode({ pad: "x".repeat(65_536) }), RangeError);
});

test("a long content that comes in small pieces costs about its length", () => {
  const length = 1 << 20;
  const whole = encode({}, new Uint8Array(length));
  const decoder = new Decoder();
  for (let at = 0; at < whole.length; at += 16) decoder.feed(whole.subarray(at, at + 16)); // quadratic: minutes
  assert.equal(decoder.poll().content.length, length);
  assert.equal(new Decoder(10).feed(encode({}, new Uint8Array(10))), undefined);
});

test("text is what Python reads, or is said not to be readable; never another text", async () => {
  const lines = vectors("encodings", 1, "\n").flat();
  const { read, unread, faults } = await encodings(lines, [new URL("../", import.meta.url).href, "^(utf-.*|ascii|iso8859-1)$"]);
  assert.deepEqual(faults, []);
  assert.deepEqual(unread, []);
  assert(read > 400, `${read}`);
});
