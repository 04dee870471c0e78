// Rooms, people and commands, with the server of world.mjs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { COMMANDS, read } from "../commands.js";
import { deadline } from "../session.js";
import { entered } from "./world.mjs";

const noteOf = (world) => world.model.around.note;
const type = (world, text) => {
  world.post(text);
  world.settle();
};

test("a text that begins with a slash is never sent, whatever follows", () => {
  for (const text of ["/", "/ me", "/me waves", "/HELPME", "/etc/hosts\nsecond line", "/😀", "/constructor", "/__proto__", "/topics x"]) {
    const world = entered();
    world.settle();
    type(world, text);
    assert.deepEqual([world.said(), world.model.pending], [[], []], text);
    const note = noteOf(world);
    assert.equal(note.key, "unknownCommand", text);
    assert(note.isRefused);
    for (const word of Object.keys(COMMANDS)) assert(note.values.known.includes(`/${word}`), word);
  }
});

test("two slashes begin a text with one", () => {
  const world = entered();
  world.settle();
  for (const text of ["//help", "///x", "//", " /help", "a /b"]) type(world, text);
  assert.deepEqual(world.texts(), ["1 /help", "2 //x", "3 /", "4  /help", "5 a /b"]);
});

test("a command without its argument, or with a name of two words, says how it is typed", () => {
  for (const [text, key, form] of [
    ["/join", "needsMore", "/join ROOM"], ["/nick ", "needsMore", "/nick NAME"], ["/find", "needsMore", "/find WORDS"],
    ["/join a b", "oneWord", "/join ROOM"], ["/create a public", "oneWord", "/create ROOM [private]"], ["/nick Ada L", "oneWord", "/nick NAME"],
  ]) assert.deepEqual(read(text).wrong, { key, values: { form } }, text);
  const parts = (text) => [read(text).word, read(text).argument];
  assert.deepEqual(parts("/create a private"), ["create", "a private"]);
  assert.deepEqual(parts("/TOPIC  two words"), ["topic", "two words"]);
  assert.deepEqual(parts("/who"), ["who", ""]);
});

test("another room is shown alone, and messages for the old one are still sent there", () => {
  const world = entered();
  world.server.others.dev = [];
  world.server.say("guest:bob", "hello, dev", undefined, "dev");
  world.settle();
  type(world, "in general");
  world.post("also in general");
  world.input({ type: "go", room: "dev" });
  assert.equal(world.connects, 2, "by a new connection, so that nobody is in two rooms");
  assert.deepEqual(world.texts(), []);
  world.settle();
  assert.deepEqual([world.model.room, world.texts(), world.model.pending], ["dev", ["1 hello, dev"], []]);
  assert.deepEqual(world.said(), ["1 in general", "2 also in general"]);
  type(world, "in dev");
  assert.deepEqual(world.texts(), ["1 hello, dev", "2 in dev"]);
  world.input({ type: "go", room: "general" });
  world.settle();
  assert.deepEqual(world.texts(), world.said());
});

test("a room is shown by the name that its events have", () => {
  const world = entered();
  world.server.others.dev = [];
  world.settle();
  type(world, "/join #DEV");
  type(world, "here");
  assert.deepEqual([world.model.room, world.texts(), world.model.pending], ["dev", ["1 here"], []]);
});

test("a room that is not there is refused, and the old one stays", () => {
  const world = entered();
  world.server.say("guest:bob", "old");
  world.settle();
  type(world, "/join nowhere");
  assert.deepEqual([world.model.room, world.texts(), world.connects], ["general", ["1 old"], 1]);
  assert.equal(noteOf(world).values.code, "no-room");
  // Named in the page's address, or gone while the page was open.
  world.input({ type: "go", room: "nowhere" });
  world.settle();
  assert.deepEqual([world.model.room, world.model.link, world.texts()], ["general", "live", ["1 old"]]);
  assert.equal(noteOf(world).values.code, "no-room");
});

test("an account creates a room and is in it; a guest gets the reason", () => {
  const guest = entered();
  guest.settle();
  type(guest, "/create dev");
  assert.deepEqual([guest.model.room, noteOf(guest).values.code], ["general", "account-needed"]);
  const ada = entered("ada");
  ada.settle();
  type(ada, "/create dev private");
  assert.deepEqual([ada.model.room, noteOf(ada), ada.model.known], ["dev", null, "ada"]);
  type(ada, "/create general");
  assert.equal(noteOf(ada).values.code, "name-taken");
});

test("questions are answered above the field", () => {
  const world = entered("ada");
  Object.assign(world.server, { people: [{ name: "ada", role: "member", present: 1 }, { name: "guest:bob", present: 2 }], topics: { general: "anything" } });
  world.settle();
  for (const [text, key, check] of [
    ["/help", "help"],
    ["/who", "peopleOf", (note) => note.people.list.length === 2],
    ["/rooms", "roomsAre", (note) => note.rooms.list[0].room === "general"],
    ["/topic", "topicIs", (note) => note.values.topic === "anything"],
    ["/find con chó", "found", (note) => note.hits.list[0].text === "con chó"],
    ["/invite bob", "invited", (note) => note.values.name === "bob"],
  ]) {
    type(world, text);
    assert.equal(noteOf(world).key, key, text);
    assert(!check || check(noteOf(world)), text);
  }
  type(world, "/topic two words");
  assert.deepEqual([world.server.topics.general, noteOf(world)], ["two words", null]);
  type(world, "/topic -");
  assert.equal(world.server.topics.general, "");
  assert.deepEqual(world.said(), []);
});

test("a list of rooms has those of all pages, and a topic on a later page is found", () => {
  const world = entered("ada");
  world.server.roomsInPage = 2;
  for (const room of ["a", "b", "c", "d"]) world.server.others[room] = [];
  world.server.topics.general = "anything";
  world.settle();
  const all = ["general", "a", "b", "c", "d"];
  const names = ({ list }) => list.map(({ room }) => room);
  world.input({ type: "watch", isWatched: true });
  world.settle();
  assert.deepEqual(names(world.model.around.rooms), all);
  type(world, "/rooms");
  assert.deepEqual(names(noteOf(world).rooms), all);
  type(world, "/topic");
  assert.equal(noteOf(world).values.topic, "anything");
  // The list stays whole while the next one comes.
  const lengths = new Set();
  world.server.others.e = [];
  for (const isWatched of [false, true]) world.input({ type: "watch", isWatched });
  while (world.model.around.pages) {
    world.deliver(20);
    lengths.add(world.model.around.rooms.list.length);
  }
  assert.deepEqual(names(world.model.around.rooms), [...all, "e"]);
  assert.deepEqual([...lengths], [5, 6]);
});

test("another name is taken with what is on the screen, or the old one stays", () => {
  const world = entered();
  world.server.say("guest:bob", "old");
  world.settle();
  type(world, "/nick grace");
  assert.deepEqual([world.model.known, world.model.former, world.texts()], ["guest:grace", null, ["1 old"]]);
  world.server.say("guest:bob", "new");
  world.settle();
  assert.deepEqual(world.texts(), ["1 old", "2 new"]);
  // A name that this page lets through, and the server refuses.
  world.input({ type: "typed", id: "x", line: read("/nick bad") });
  world.connection = null;
  world.model.name = "not a name";
  world.input({ type: "closed" });
  world.settle();
  assert.deepEqual([world.model.link, world.model.known, noteOf(world).values.code], ["live", "guest:grace", "bad-name"]);
  world.connection.take = () => {};
  world.post("unsent");
  world.input({ type: "typed", id: "y", line: read("/nick other") });
  assert.deepEqual([world.model.name, noteOf(world).key], ["grace", "changeNameWaits"], "its id would post it twice under another name");
});

test("a command whose answer was lost is not repeated, and its outcome is called unknown", () => {
  const world = entered("ada");
  world.settle();
  world.connection.take = () => {};
  world.post("/create dev");
  world.cut();
  assert.deepEqual([noteOf(world).key, noteOf(world).values.form], ["lostCommand", "/create ROOM [private]"]);
  world.settle();
  assert.deepEqual(world.server.others, {});
  world.cut();
  world.post("/create dev");
  assert.deepEqual([noteOf(world).key, world.server.others], ["offline", {}]);
});

test("people are asked for again only while they are on the screen", () => {
  const world = entered();
  world.settle();
  const before = deadline(world.model);
  world.input({ type: "watch", isWatched: true });
  world.server.people = [{ name: "guest:bob", present: 1 }];
  world.settle();
  assert(deadline(world.model) < before);
  world.now = deadline(world.model);
  world.input({ type: "tick" });
  world.settle();
  assert.deepEqual(world.model.around.people.list, world.server.people);
  // Somebody new speaks: soon.
  world.server.say("guest:carol", "hello");
  world.deliver();
  assert(deadline(world.model) - world.now <= 3_000);
  world.input({ type: "watch", isWatched: false });
  assert.equal(world.model.around.due, null);
});

test("pictures and files hold a limited number of bytes, and are loaded again on request", () => {
  const world = entered();
  world.settle();
  for (let i = 0; i < 200; i += 1) {
    world.server.say("guest:bob", new Uint8Array(256 << 10));
    world.server.entries.at(-1).type = "image/png";
    if (i % 20 === 0) world.deliver();
  }
  world.deliver();
  const held = () => world.model.items.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0);
  assert(held() <= 32 << 20, `${held()}`);
  assert(world.model.items[0].isReleased && world.model.items.at(-1).bytes);
  world.input({ type: "load", n: 1 });
  world.deliver();
  assert.equal(world.model.items[0].bytes.length, 256 << 10);
  // A long text counts, too, and is released with its bytes.
  for (let i = 0; i < 200; i += 1) world.server.say("guest:bob", "x".repeat(256 << 10));
  world.deliver();
  assert(held() <= 32 << 20, `${held()}`);
  const texts = world.model.items.reduce((sum, { text }) => sum + (text?.length ?? 0), 0);
  assert(texts <= 32 << 20, `${texts}`);
});
