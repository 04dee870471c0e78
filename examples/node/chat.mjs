#!/usr/bin/env node
// Send and follow in a room of a vang server. Run it as
//     node chat.mjs HOST PORT send ROOM TEXT [AS]          prints the message's address, as general#7
//     node chat.mjs HOST PORT follow ROOM [AS] [SINCE]     prints messages, from SINCE + 1 on
import { connect } from "node:net";
import { randomUUID } from "node:crypto";
import { messages, text, write } from "./vang.mjs";

async function reply(incoming) {
  const { value } = await incoming.next();
  if (value?.header.status !== "ok") throw new Error(value?.header.detail ?? "the server closed without an answer");
  return value.header;
}
function shown(message) {
  try { // control characters would control the terminal
    return text(message).replace(/[\x00-\x1f\x7f]/g, " ");
  } catch {
    return `(${message.content.length} bytes of ${message.header["content-type"]})`;
  }
}
const actions = {
  async send(socket, room, words, name) { // the id makes it safe to send again: the server posts it once
    write(socket, Buffer.from(words), "text/plain", "utf-8", { action: "send", room, id: randomUUID(), as: name || undefined });
    console.log((await reply(messages(socket))).address);
  },
  async follow(socket, room, name, since) {
    const keys = { action: "follow", room, as: name || undefined, since: since ? Number(since) : undefined };
    write(socket, Buffer.alloc(0), "text/plain", "utf-8", keys);
    const incoming = messages(socket);
    await reply(incoming);
    for await (const message of incoming) {
      const { event, n, from, to, why } = message.header;
      if (event === "message") console.log(`${n} ${from}: ${shown(message)}`);
      if (event === "hole") console.log(`hole ${from}-${to} ${why}`);
    }
  },
};
const [host, port, action, ...rest] = process.argv.slice(2);
if (!Object.hasOwn(actions, action)) console.error("usage: see the top of chat.mjs"), process.exit(2);
const run = async () => actions[action](connect({ host, port: Number(port), allowHalfOpen: true }), ...rest);
run().then(() => process.exit(0), (error) => (console.error(error.message), process.exit(1)));
