// The page's session over connections that break anywhere.
// One case of these: VANG_FIRST_SEED=17 VANG_SEEDS=1 node --test web/tests/session.test.mjs
import assert from "node:assert/strict";
import { test } from "node:test";
import { encode } from "../proto.js";
import { hasOlder } from "../past.js";
import { deadline } from "../session.js";
import { entered, json, randomOf, World } from "./world.mjs";

test("a page with broken connections shows every message once and loses none of its own", () => {
  const [first, count] = [Number(process.env.VANG_FIRST_SEED ?? 0), Number(process.env.VANG_SEEDS ?? 100)];
  const seeds = Array.from({ length: count }, (_, i) => first + i);
  let cuts = 0;
  for (const seed of seeds) {
    const random = randomOf(seed);
    const world = new World(random);
    for (let i = Math.floor(random() * 30); i > 0; i -= 1) world.server.say("guest:before", `before ${i}`);
    world.input({ type: "enter", name: "ada" });
    const mine = [];
    for (let step = 0; step < 150; step += 1) {
      const dice = random();
      if (dice < 0.12) mine.push(`mine ${step}`), world.post(`mine ${step}`);
      else if (dice < 0.24) world.server.say("guest:bob", `his ${step}`);
      else if (dice < 0.36) world.cut(), (cuts += 1);
      else if (dice < 0.4) world.server.busy += 1;
      else if (dice < 0.75) world.deliver(Math.floor(random() * 400));
      else if (dice < 0.9) world.open();
      else if (dice < 0.95) world.input({ type: "older" }), world.answer();
      else (world.now += Math.floor(random() * 20_000)), world.input({ type: "tick" });
    }
    world.settle();
    while (hasOlder(world.model)) world.input({ type: "older" }), world.settle(), world.deliver();
    assert.deepEqual(world.texts(), world.said(), `seed ${seed}`);
    assert.deepEqual(world.model.pending, [], `seed ${seed}`);
    const posted = world.server.entries.filter(({ from }) => from === "guest:ada").map(({ text }) => text);
    assert.deepEqual(posted, mine, `seed ${seed}: once each, in the order in which they were written`);
  }
  assert(cuts > 5 * count, `${cuts}`);
});

test("the newest page comes first, older ones on request", () => {
  const world = new World(() => 0.5);
  for (let i = 1; i <= 250; i += 1) world.server.say("guest:bob", `m${i}`);
  world.input({ type: "enter", name: "ada" });
  world.settle();
  for (const [count, more] of [[100, true], [200, true], [250, false]]) {
    while (world.texts().length < count) world.deliver();
    assert.deepEqual(world.texts(), world.said().slice(-count));
    assert.equal(hasOlder(world.model), more);
    world.input({ type: "older" });
    world.input({ type: "older" }); // one page at a time
  }
});

test("a message of a page of history is not shown again by its event", () => {
  const world = entered();
  world.server.say("guest:bob", "between");
  const held = world.connection.cursor;
  world.connection.cursor = Infinity; // its event is late
  for (let answers = 0; answers < 3; answers += 1) world.deliver(); // to hello and follow, the end, the page
  assert.deepEqual(world.texts(), ["1 between"]);
  world.connection.cursor = held;
  world.deliver();
  assert.deepEqual(world.texts(), ["1 between"]);
});

test("a lost reply does not post a message twice", () => {
  const world = entered();
  world.settle();
  world.post("once");
  assert.equal(world.server.entries.length, 1);
  world.cut();
  assert.equal(world.model.pending.length, 1);
  world.settle();
  assert.deepEqual([world.said(), world.texts(), world.model.pending], [["1 once"], ["1 once"], []]);
});

test("waits double from 250 ms to 15 s with jitter, and reset after five seconds live", () => {
  for (const [random, factor] of [[0, 0.5], [1, 1]]) {
    const world = new World(() => random);
    world.input({ type: "enter", name: "ada" });
    const waits = [];
    for (let i = 0; i < 9; i += 1) {
      world.cut();
      waits.push((deadline(world.model) - world.now) / factor);
      world.now = deadline(world.model);
      world.input({ type: "tick" });
      world.answer();
      assert.equal(world.model.link, "connecting");
    }
    assert.deepEqual(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
    world.settle();
    world.cut();
    assert.equal(deadline(world.model) - world.now, 15_000 * factor, "let in, and out at once");
    world.now = deadline(world.model);
    world.input({ type: "tick" });
    world.answer();
    world.settle();
    world.now += 5_000;
    world.cut();
    assert.equal(deadline(world.model) - world.now, 250 * factor);
  }
});

test("a silent server gets a ping, then the connection is closed", () => {
  const world = entered();
  world.settle();
  world.now = deadline(world.model);
  world.input({ type: "tick" });
  assert.equal(world.model.link, "live");
  assert.equal(world.connection.toPage.length, 1, "a ping was answered");
  world.now = deadline(world.model);
  world.input({ type: "tick" });
  assert.equal(world.model.link, "waiting", "but the answer never came");
  // One that never lets us in is left too.
  world.now = deadline(world.model);
  world.input({ type: "tick" });
  world.now = deadline(world.model);
  world.input({ type: "tick" });
  assert.equal(world.model.link, "waiting");
});

test("another journal is shown from its start and gets the unsent messages", () => {
  const world = entered();
  world.server.say("guest:bob", "old");
  world.settle();
  world.cut();
  world.post("mine");
  Object.assign(world.server, { journal: "j2", entries: [], seq: 2 });
  world.server.say("guest:bob", "new");
  world.settle();
  assert.deepEqual(world.texts(), ["1 new", "2 mine"]);
  assert.equal(world.model.notice, "other-journal");
});

test("a journal restored from a backup continues at the common position", () => {
  const world = entered();
  world.settle();
  for (const text of ["a", "b", "lost"]) world.server.say("guest:bob", text);
  world.settle();
  world.cut();
  Object.assign(world.server, { journal: "j2", entries: world.server.entries.slice(0, 2), seq: 4, common: 4 });
  world.server.say("guest:bob", "c");
  world.settle();
  world.post("d");
  world.settle();
  assert.deepEqual(world.texts(), ["1 a", "2 b", "3 c", "4 d"]);
  assert.equal(world.model.notice, "set-back");
  assert.equal(world.model.place.journal, "j2");
});

test("an older copy is shown from the common position, own messages are sent again", () => {
  const world = entered();
  world.settle();
  for (const text of ["a", "b", "c"]) world.server.say("guest:bob", text);
  world.settle();
  world.cut();
  Object.assign(world.server, { entries: world.server.entries.slice(0, 2), seq: 4 });
  world.settle();
  world.post("d");
  world.settle();
  assert.deepEqual(world.texts(), ["1 a", "2 b", "3 d"]);
  assert.equal(world.model.notice, "set-back");
});

test("a final refusal is kept with its text, retried or discarded", () => {
  const world = entered();
  world.settle();
  for (const text of ["forbidden", "fine", "forbidden"]) world.post(text);
  world.settle();
  assert.deepEqual(world.texts(), ["1 fine"]);
  const [first, second] = world.model.pending;
  assert.deepEqual([first.state, first.trouble], ["failed", { code: "not-allowed", detail: "no" }]);
  world.input({ type: "discard", id: second.id });
  first.text = "allowed by now";
  world.input({ type: "again", id: first.id });
  world.settle();
  assert.deepEqual(world.texts(), ["1 fine", "2 allowed by now"]);
  assert.deepEqual(world.model.pending, []);
});

test("after an hour without an answer the outcome of a send is unknown", () => {
  const world = entered();
  world.settle();
  world.connection.take = () => {};
  world.post("into the dark");
  world.cut();
  world.now += 3_600_000;
  world.input({ type: "tick" });
  assert.equal(world.model.pending[0].state, "failed");
  assert.equal(world.model.pending[0].trouble.code, "unknown");
});

test("a refused name is asked for again, with the server's text", () => {
  const world = entered();
  const refusal = encode({ re: "hello", status: "error", code: "bad-name", detail: "not a name" }, json("Error"));
  world.input({ type: "bytes", bytes: refusal });
  assert.equal(world.model.link, "out");
  assert.equal(world.model.trouble.detail, "not a name");
});

test("a message that closes the connection is not sent forever", () => {
  const world = entered();
  world.settle();
  world.connection.take = () => {};
  world.post("too long");
  const refusal = encode({ status: "error", code: "too-long", detail: "too long", part: "content" }, json("Error"));
  world.input({ type: "bytes", bytes: refusal });
  world.cut();
  assert.equal(world.model.pending[0].state, "failed");
});

test("malformed bytes close the connection, and the page reconnects", () => {
  const world = entered();
  world.settle();
  world.input({ type: "bytes", bytes: new Uint8Array([0, 0]) });
  assert.equal(world.model.link, "waiting");
  world.server.say("guest:bob", "after");
  world.settle();
  assert.deepEqual(world.texts(), ["1 after"]);
});

test("holes and joins are shown in order, unknown events are not shown", () => {
  const world = entered();
  world.settle();
  const seqs = [10, 11, 12, 13];
  const event = (keys) => encode({ seq: seqs.shift(), room: "general", time: "2026-01-01T00:00:00Z", ...keys });
  world.input({ type: "bytes", bytes: event({ event: "joined", from: "bob" }) });
  world.input({ type: "bytes", bytes: event({ event: "hole", from: 1, to: 4, why: "erased" }) });
  world.input({ type: "bytes", bytes: event({ event: "danced", from: "bob" }) });
  world.input({ type: "bytes", bytes: event({ event: "message", from: "bob", n: 5 }) });
  assert.deepEqual(world.model.items.map(({ event, n, to }) => [event, n, to]), [
    ["joined", undefined, undefined], ["hole", 1, 4], ["message", 5, undefined],
  ]);
  assert.equal(world.model.place.seq, 13);
});

test("new messages are counted while older ones are read, and items are dropped only at the end", () => {
  const world = entered();
  world.settle();
  world.input({ type: "scrolled", atEnd: false });
  for (let i = 0; i < 1_600; i += 1) world.server.say("guest:bob", `m${i}`);
  world.deliver();
  assert.equal(world.model.unread, 1_600);
  assert.equal(world.model.items.length, 1_600);
  assert.equal(world.model.mark, world.model.items[0].seq);
  world.input({ type: "scrolled", atEnd: true });
  assert.deepEqual([world.model.unread, world.model.items.length], [0, 1_000]);
  assert(hasOlder(world.model));
  world.input({ type: "older" });
  for (let i = 0; i < 20; i += 1) world.deliver();
  assert.deepEqual(world.texts(), world.said().slice(-1_100));
});
