// A page, a server of a hundred lines and the wire between them, for tests.
import assert from "node:assert/strict";
import { read } from "../commands.js";
import { Decoder, encode } from "../proto.js";
import { begin, deadline, update } from "../session.js";

/** Small, seeded, good enough: mulberry32. */
export function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const json = (result) => new TextEncoder().encode(JSON.stringify({ result }));

/** What PROTOCOL.md asks of a server, with as little as the page needs. */
export class Server {
  journal = "j1";
  entries = []; // of the room: { seq, n, from, text, id }
  seq = 2;
  busy = 0; // how many sends are refused from now on
  others = {}; // entries of other rooms, by name
  roomsInPage = 1_000;
  topics = {};
  accounts = []; // names that are accounts
  cookie = null; // the account that the browser is signed in as
  people = []; // rows of `who`
  common = null; // the last position in common with the journal of which it was restored

  in(room) {
    return room === "general" ? this.entries : this.others[room];
  }

  say(from, text, id, room = "general") {
    const entries = this.in(room);
    const earlier = id && entries.find((entry) => entry.id === id && entry.from === from);
    if (earlier) return earlier;
    this.seq += 1;
    const entry = { seq: this.seq, room, n: entries.length + 1, from, text, id };
    entries.push(entry);
    return entry;
  }

  event({ seq, room, n, from, text, type }) {
    const keys = { event: "message", seq, room, n, from, time: "2026-01-01T00:00:00.000Z" };
    return typeof text === "string" ? encode(keys, new TextEncoder().encode(text)) : encode(keys, text, type, "binary");
  }
}

/** A connection: bytes lie in `toPage` until they are given over, in any pieces. */
class Connection {
  toPage = [];
  cursor = null;
  decoder = new Decoder();

  constructor(server) {
    this.server = server;
    this.account = server.cookie;
  }

  reply(header, keys, content = json("ok"), type = "text/json", encoding = "utf-8") {
    const re = header.raw("re") ?? header.raw("id");
    this.toPage.push(encode({ ...(re ? { re: JSON.parse(re) } : {}), status: "ok", ...keys }, content, type, encoding));
  }

  refuse(header, code, detail) {
    this.reply(header, { status: "error", code, detail });
  }

  take(bytes) {
    const { server } = this;
    this.decoder.feed(bytes);
    for (let message; (message = this.decoder.poll()); ) {
      const { header, content } = message;
      const name = header.text("room")?.toLowerCase() ?? null;
      const entries = name === null ? null : server.in(name);
      if (name !== null && !entries && header.text("action") !== "create") {
        this.refuse(header, "no-room", `there is no room '${name}'`);
        continue;
      }
      const end = entries?.length;
      switch (header.text("action")) {
        case "hello":
          this.name = this.account ?? `guest:${header.text("as") ?? "anon"}`;
          if (this.account && ![null, this.account].includes(header.text("as"))) this.refuse(header, "name-set", "signed in as another");
          else if (!this.account && server.accounts.includes(header.text("as"))) this.refuse(header, "sign-in-needed", "an account's");
          else if (header.text("as")?.includes(" ")) this.refuse(header, "bad-name", "a name has no spaces");
          else this.reply(header, { name: this.name });
          break;
        case "who":
          this.reply(header, { room: name }, json(server.people));
          break;
        case "rooms": {
          const after = header.number("after") ?? 0;
          const rooms = ["general", ...Object.keys(server.others)].map((room) => ({ room, access: "public", n: 0, topic: server.topics[room] }));
          const page = rooms.slice(after, after + server.roomsInPage);
          const next = after + page.length;
          this.reply(header, next < rooms.length ? { next } : {}, json(page));
          break;
        }
        case "create":
          if (this.name.startsWith("guest:")) this.refuse(header, "account-needed", "guests cannot do this");
          else if (entries) this.refuse(header, "name-taken", "there is one");
          else {
            server.others[name] = [];
            this.reply(header, { room: name });
          }
          break;
        case "join":
          if (this.name.startsWith("guest:")) this.refuse(header, "account-needed", "guests cannot do this");
          else this.reply(header, { room: name });
          break;
        case "topic":
          server.topics[name] = header.text("topic");
          this.reply(header, { room: name });
          break;
        case "find":
          this.reply(header, { count: 1 }, json([{ address: "general#1", from: "bob", text: header.text("query") }]));
          break;
        case "follow": {
          const [seq, journal] = [header.number("seq"), header.text("journal")];
          if (seq !== null && journal !== server.journal) {
            const common = server.common === null ? {} : { journal: server.journal, epoch: "e", seq: server.common };
            this.reply(header, { status: "error", code: "journal-changed", detail: "another", ...common });
          }
          else if (seq > server.seq) this.reply(header, { status: "error", code: "seq-ahead", detail: "ahead", seq: server.seq, epoch: "e" });
          else {
            this.cursor = seq ?? server.seq;
            this.room = name;
            this.reply(header, { journal: server.journal, epoch: "e", seq: this.cursor }, json(name));
          }
          break;
        }
        case "history": {
          const since = header.number("since") ?? 0;
          // As if every answer were full after 7 messages.
          const page = entries.filter(({ n }) => n > since).slice(0, Math.min(7, header.number("limit")));
          const keys = { room: name, count: page.length, last: page.at(-1)?.n ?? since, end };
          this.reply(header, keys, new Uint8Array(Buffer.concat(page.map((entry) => server.event(entry)))), "application/vang-events", "binary");
          break;
        }
        case "send": {
          if (server.busy > 0) {
            server.busy -= 1;
            this.reply(header, { status: "error", code: "busy", detail: "busy", "retry-after": 40 });
            break;
          }
          const text = new TextDecoder().decode(content);
          if (text === "forbidden") this.refuse(header, "not-allowed", "no");
          else {
            const { seq, n } = server.say(this.name, text, header.text("id"), name);
            this.reply(header, { seq, n });
          }
          break;
        }
        case "ping":
          this.reply(header, {});
          break;
        default:
          assert.fail(header.text("action"));
      }
    }
  }

  /** Events that it is owed. */
  pump() {
    if (this.cursor === null) return;
    for (const entry of this.server.in(this.room).filter(({ seq }) => seq > this.cursor)) this.toPage.push(this.server.event(entry));
    this.cursor = this.server.seq;
  }
}

/** A page, a server and the wire between them. */
export class World {
  now = 1_000_000;
  model = begin("general");
  connection = null;
  connects = 0;
  ids = 0;
  isAsked = false; // who the browser is signed in as
  effects = []; // all but what is written

  constructor(random) {
    this.random = random;
    this.server = new Server();
  }

  input(input) {
    for (const effect of update(this.model, input, this.now, this.random())) {
      if (effect.type === "connect") [this.connection, this.connects] = [new Connection(this.server), this.connects + 1];
      if (effect.type === "hang-up") this.connection = null;
      if (effect.type === "ask-session") this.isAsked = true;
      if (effect.type !== "write") this.effects.push(effect);
      if (effect.type === "write") this.connection?.take(effect.bytes);
    }
  }

  open() {
    this.input({ type: "opened" });
  }

  /** The server says who the browser is signed in as. */
  answer() {
    if (!this.isAsked) return;
    this.isAsked = false;
    this.input({ type: "session", name: this.server.cookie });
  }

  post(text) {
    this.ids += 1;
    this.input({ type: "typed", id: `id-${this.ids}`, line: read(text) });
  }

  /** Gives over at most `most` bytes of what the server wrote. */
  deliver(most = Infinity) {
    this.connection?.pump();
    const all = Buffer.concat(this.connection?.toPage ?? []);
    if (!all.length) return;
    const size = Math.min(most, all.length);
    this.connection.toPage = size < all.length ? [all.subarray(size)] : [];
    this.input({ type: "bytes", bytes: new Uint8Array(all.subarray(0, size)) });
  }

  cut() {
    this.connection = null;
    this.input({ type: "closed" });
  }

  /** Until nothing more happens, with a connection that holds. */
  settle() {
    for (let round = 0; round < 500; round += 1) {
      this.answer();
      if (this.model.link === "connecting") this.open();
      const idle = this.connection && this.connection.toPage.length === 0 && this.model.link === "live";
      const due = deadline(this.model);
      if (idle && this.model.pending.every((own) => own.state === "failed") && (this.connection.cursor ?? 0) >= this.server.seq) break;
      this.deliver();
      if (due !== null && this.model.link !== "live") this.now = Math.max(this.now, due);
      this.now += 10;
      this.input({ type: "tick" });
    }
  }

  texts() {
    return this.model.items.filter(({ event }) => event === "message").map(({ n, text }) => `${n} ${text}`);
  }

  said() {
    return this.server.entries.map(({ n, text }) => `${n} ${text}`);
  }
}

/** A guest `ada`, or the account of this name that the browser is signed in as. */
export function entered(account = null) {
  const world = new World(() => 0.5);
  world.server.cookie = account;
  if (account) world.server.accounts = [account];
  world.input({ type: "begin", name: account ? null : "ada" });
  world.answer();
  world.open();
  return world;
}
