#!/usr/bin/env node
// The tutorial's application client: one request, one response. Run it as
//     node app_client.mjs HOST PORT ACTION VALUE
// `search` sends JSON and prints the result; any other action sends bytes and prints the response's bytes.
import { connect } from "node:net";
import { messages, text, write } from "./vang.mjs";

async function main(host, port, action, value) {
  const socket = connect({ host, port: Number(port), allowHalfOpen: true });
  socket.setTimeout(5_000, () => socket.destroy(new Error("the server does not answer"))); // of silence
  if (action === "search") write(socket, Buffer.from(JSON.stringify({ action, value })));
  else write(socket, Buffer.from(action + value), "binary/custom-client-binary-type", "binary");
  const { value: response } = await messages(socket).next();
  socket.destroy();
  if (!response) throw new Error("the server closed without an answer");
  const isJson = response.header["content-type"] === "text/json";
  process.stdout.write(isJson ? `${JSON.parse(text(response)).result}\n` : response.content);
}

if (process.argv.length !== 6) {
  console.error("usage: node app_client.mjs HOST PORT ACTION VALUE");
  process.exit(2);
}
main(...process.argv.slice(2)).catch((error) => {
  console.error(`app_client: ${error.message}`);
  process.exit(1);
});
