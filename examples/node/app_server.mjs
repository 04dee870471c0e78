#!/usr/bin/env node
// The tutorial's application server: one request per connection, many at once. Run it as
//     node app_server.mjs HOST PORT        (port 0: any free one; it is printed)
import { createServer } from "node:net";
import { messages, text, write } from "./vang.mjs";

const ANSWERS = new Map([
  ["morpheus", "Follow the white rabbit. 🐰"],
  ["ring", "In the caves beneath the Misty Mountains. 💍"],
  ["🐶", "🐾 Playing ball! 🏐"],
]);
const printed = (value) => // as Python's str
  value == null ? "None" : value === true ? "True" : value === false ? "False" : String(value);

function result({ action, value }) {
  if (action !== "search") return `Error: invalid action '${printed(action)}'.`;
  return ANSWERS.get(value) ?? `No match for '${printed(value)}'.`;
}

async function serve(socket) {
  socket.setTimeout(10_000, () => socket.destroy()); // of silence
  try {
    const { value: request } = await messages(socket).next();
    if (request?.header["content-type"] === "text/json") {
      const answer = JSON.stringify(result(JSON.parse(text(request))));
      write(socket, Buffer.from(`{"result": ${answer}}`));
    } else if (request) {
      const answer = Buffer.concat([Buffer.from("First 10 bytes of request: "), request.content.subarray(0, 10)]);
      write(socket, answer, "binary/custom-server-binary-type", "binary");
    }
  } catch (error) { // whatever one peer sends, the others are served
    console.error(error.message);
  }
  socket.destroySoon(); // once what we wrote has gone out
}

const [host, port] = process.argv.slice(2);
const server = createServer({ allowHalfOpen: true }, serve);
server.listen({ host, port: Number(port) }, () => console.log(`listening on ${host}:${server.address().port}`));
