// Who a person is on the page: a guest, or the account that the browser is signed in as; with the server of world.mjs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { deviceOf } from "../device.js";
import { wayOf, ways, whyOf } from "../identity.js";
import { encode } from "../proto.js";
import { deadline } from "../session.js";
import { entered, World } from "./world.mjs";

const noteOf = (world) => world.model.around.note;
const type = (world, text) => {
  world.post(text);
  world.settle();
};
const effects = (world, type) => world.effects.filter((effect) => effect.type === type);
const closing = (why) => encode({ event: "closing", why });

/** A page at its start view. */
function started({ name = null, cookie = null } = {}) {
  const world = new World(() => 0.5);
  world.server.accounts = ["ada", "bob"];
  world.server.cookie = cookie;
  world.input({ type: "begin", name });
  world.answer();
  return world;
}

function signIn(world, name) {
  world.input({ type: "sign-in", name });
  world.server.cookie = name;
  world.input({ type: "signed-in", name });
}

/** As when the token ends, in another tab or by an administrator. */
function endToken(world) {
  world.server.cookie = null;
  world.input({ type: "bytes", bytes: closing("signed-out") });
}

test("a browser that is signed in enters without a question, as the account", () => {
  const world = started({ name: "grace", cookie: "ada" });
  world.settle();
  assert.deepEqual([world.model.link, world.model.account, world.model.known, world.model.name], ["live", "ada", "ada", null]);
  assert.deepEqual(effects(world, "keep-name")[0], { type: "keep-name", name: null }, "the guest's name of before");
  type(world, "hello");
  assert.equal(world.server.entries[0].from, "ada");
});

test("a guest who was here before enters again; anybody else gets the start view", () => {
  const guest = started({ name: "grace" });
  guest.settle();
  assert.equal(guest.model.known, "guest:grace");
  const nobody = started();
  assert.deepEqual([nobody.model.link, nobody.connects, wayOf(nobody.model)], ["out", 0, "guest"]);
  assert.equal(effects(nobody, "ask-admission").length, 1);
});

test("the start view offers what the server admits", () => {
  const model = started().model;
  const shown = (guests, way) => {
    Object.assign(model, { admission: guests === null ? null : { guests } });
    Object.assign(model.door, { way });
    return [ways(model).length, wayOf(model)];
  };
  assert.deepEqual([shown(null, null), shown(true, null), shown(true, "account")], [[2, "guest"], [2, "guest"], [2, "account"]]);
  assert.deepEqual([shown(false, null), shown(false, "guest")], [[1, "account"], [1, "account"]]);
});

test("without an answer at the start it asks again, and connects as nobody", () => {
  const world = new World(() => 0.5);
  world.input({ type: "begin", name: null });
  world.input({ type: "session", trouble: { code: "unreachable", detail: null } });
  assert.deepEqual([world.model.link, world.model.trouble.code], ["waiting", "unreachable"]);
  for (let i = 0; i < 3; i += 1) {
    world.isAsked = false;
    world.input({ type: i ? "tick" : "nudge" });
    assert.deepEqual([world.model.link, world.isAsked, world.connects], ["asking", true, 0]);
    world.now = deadline(world.model); // no answer at all
    world.input({ type: "tick" });
    assert.equal(world.model.link, "waiting");
    world.now = deadline(world.model);
  }
  world.server.cookie = "ada";
  world.input({ type: "go", room: "dev" });
  assert.deepEqual([world.model.link, world.connects], ["asking", 0]);
  world.answer();
  assert.deepEqual([world.model.link, world.model.room], ["connecting", "dev"]);
});

test("signing in: one request at a time, the reason of a refusal, a busy server is asked again when it says", () => {
  const world = started();
  world.input({ type: "way", way: "account", name: "ad" });
  assert.equal(world.model.door.name, "ad", "what was typed as a guest's name is offered");
  world.input({ type: "sign-in", name: "ada" });
  world.input({ type: "sign-in", name: "ada" });
  assert.deepEqual(effects(world, "sign-in"), [{ type: "sign-in" }]);
  world.input({ type: "sign-in-refused", trouble: { code: "wrong-secret", detail: "no" } });
  assert.deepEqual([world.model.door.trouble.code, world.model.door.signing, world.model.link], ["wrong-secret", null, "out"]);
  world.input({ type: "sign-in", name: "ada" });
  assert.equal(world.model.door.trouble, null);
  world.input({ type: "sign-in-refused", trouble: { code: "busy", detail: "busy", wait: 7_000 } });
  assert.equal(deadline(world.model), world.now + 7_000);
  world.now += 6_999;
  world.input({ type: "tick" });
  assert.equal(effects(world, "sign-in").length, 2);
  world.now += 1;
  world.input({ type: "tick" });
  assert.equal(effects(world, "sign-in").length, 3);
  assert.equal(deadline(world.model), null);
  world.input({ type: "sign-in-refused", trouble: { code: "busy", detail: "busy" } });
  world.input({ type: "cancel-sign-in" });
  assert.deepEqual([world.model.door.signing, deadline(world.model)], [null, null]);
  world.input({ type: "signed-in", name: "ada" });
  assert.equal(world.model.link, "out", "nobody waits for it any more");
  signIn(world, "ada");
  world.settle();
  assert.deepEqual([world.model.known, world.model.door.signing], ["ada", null]);
  assert(!JSON.stringify(world.effects).includes("password"));
});

test("a guest's name that is an account's leads to its sign-in", () => {
  for (const name of [null, "ada"]) {
    const world = started({ name }); // typed, or kept from a time without passwords
    if (!name) world.input({ type: "enter", name: "ada" });
    world.settle();
    assert.deepEqual([world.model.link, wayOf(world.model), world.model.door.name, world.model.name], ["out", "account", "ada", null]);
    world.input({ type: "admission", admission: { guests: true } });
    assert.deepEqual(whyOf(world.model), { key: "signInNeeded", values: { name: "ada" } });
    world.input({ type: "admission", admission: { guests: false } });
    assert.equal(whyOf(world.model), null, "here it is so for every name");
  }
  // Inside, the name of before stays.
  const inside = started({ name: "grace" });
  inside.settle();
  type(inside, "/nick ada");
  assert.deepEqual([inside.model.known, inside.model.link, noteOf(inside).values.code], ["guest:grace", "live", "sign-in-needed"]);
});

test("signing out leads to the start view without a reason, also if the connection ends first", () => {
  for (const isFirst of [true, false]) {
    const world = entered("ada");
    world.settle();
    type(world, "mine");
    type(world, "/create secret private");
    world.effects = [];
    world.post("/sign-out");
    assert.equal(effects(world, "sign-out").length, 1);
    world.post("too late");
    assert.deepEqual([noteOf(world).isRefused, world.model.pending], [true, []], "it stays in the field");
    if (isFirst) endToken(world);
    assert.notEqual(world.model.link, "out");
    world.input({ type: "signed-out" });
    assert.deepEqual([world.model.link, world.model.account, world.model.items, whyOf(world.model)], ["out", null, [], null]);
    assert.equal(world.model.room, "general", "the name of a private room is not shown");
    assert.deepEqual(effects(world, "ask-session"), [], "it is known");
    assert.equal(deadline(world.model), null);
  }
});

test("a refused sign-out changes nothing", () => {
  const world = entered("ada");
  world.settle();
  world.post("/sign-out");
  world.input({ type: "sign-out-refused", trouble: { code: "disk-full", detail: "full" } });
  assert.deepEqual([world.model.link, world.model.account, noteOf(world).values.code], ["live", "ada", "disk-full"]);
  // The connection ended, and still the answer is no: the server says who we are.
  world.post("/sign-out");
  world.input({ type: "bytes", bytes: closing("signed-out") });
  world.input({ type: "sign-out-refused", trouble: { code: "unreachable", detail: null } });
  world.settle();
  assert.deepEqual([world.model.link, world.model.account], ["live", "ada"]);
});

test("no sign-out while a message is unsent, or without a connection", () => {
  const world = entered("ada");
  world.settle();
  world.connection.take = () => {};
  world.post("mine");
  world.post("/sign-out");
  assert.equal(noteOf(world).key, "changeNameWaits");
  world.cut();
  world.post("/sign-out");
  assert.equal(noteOf(world).key, "offline");
  assert.deepEqual(effects(world, "sign-out"), []);
});

test("who was signed out elsewhere is told once, and does not connect again", () => {
  const world = entered("ada");
  world.server.say("bob", "for members");
  world.settle();
  endToken(world);
  assert.equal(world.model.link, "asking");
  world.settle();
  const { connects } = world;
  assert.deepEqual([world.model.link, world.model.account, world.model.items], ["out", null, []]);
  assert.deepEqual(whyOf(world.model), { key: "signedOut", values: { name: "ada" } });
  assert.deepEqual([wayOf(world.model), world.model.door.name], ["account", "ada"]);
  world.now += 3_600_000;
  world.input({ type: "tick" });
  assert.deepEqual([world.connects, deadline(world.model)], [connects, null]);
  signIn(world, "ada");
  world.settle();
  assert.deepEqual(world.texts(), ["1 for members"]);
});

test("a WebSocket that is refused may be one with a cookie that is over: the server is asked before the next", () => {
  const world = entered("ada");
  world.settle();
  world.cut();
  world.now = deadline(world.model);
  world.input({ type: "tick" });
  assert.equal(world.model.link, "connecting", "a lost connection means nothing");
  world.server.cookie = null;
  world.cut(); // 401, which a page cannot read
  world.now = deadline(world.model);
  world.input({ type: "tick" });
  assert.deepEqual([world.model.link, world.isAsked], ["asking", true]);
  world.answer();
  assert.deepEqual([world.model.link, whyOf(world.model).key], ["out", "signedOut"]);
});

test("a connection under another name than expected is left, and the page becomes who the server says", () => {
  // The cookie was replaced: in another tab somebody else signed in.
  const world = entered("ada");
  world.server.say("ada", "old");
  world.settle();
  world.server.cookie = "bob";
  world.cut();
  world.settle();
  assert.deepEqual([world.model.account, world.model.known, noteOf(world).key], ["bob", "bob", "nowIs"]);
  // A guest's tab, when the browser is signed in.
  const guest = started({ name: "grace" });
  guest.settle();
  guest.server.cookie = "ada";
  guest.cut();
  guest.settle();
  assert.deepEqual([guest.model.known, guest.model.name, noteOf(guest).key], ["ada", null, "nowIs"]);
  // The cookie went away, and nobody said it.
  guest.server.cookie = null;
  guest.cut();
  guest.settle();
  assert.deepEqual([guest.model.link, guest.model.account], ["out", null]);
});

test("a cookie that the WebSocket does not get leads to no loop without a wait", () => {
  const world = entered("ada");
  world.settle();
  world.cut();
  for (let i = 0; i < 8; i += 1) {
    world.now = deadline(world.model);
    world.input({ type: "tick" });
    world.server.cookie = "ada";
    world.answer();
    assert.equal(world.model.link, "connecting");
    world.connection.account = null;
    world.open();
    world.deliver();
    assert.equal(world.model.link, "waiting");
  }
  assert(deadline(world.model) - world.now >= 7_500);
});

test("a browser that keeps no cookie is told so", () => {
  const world = started();
  signIn(world, "ada");
  world.server.cookie = null;
  world.connection.account = null;
  world.settle();
  assert.deepEqual([world.model.link, whyOf(world.model).key], ["out", "noCookie"]);
});

test("what was written under one name is not sent under another", () => {
  // An account's message is not shown to somebody else.
  const world = entered("ada");
  world.settle();
  world.connection.take = () => {};
  world.post("ada's");
  endToken(world);
  world.answer();
  assert.equal(world.model.pending.length, 1);
  world.input({ type: "enter", name: "grace" });
  assert.deepEqual(world.model.pending, []);
  // The same person gets it sent.
  const same = entered("ada");
  same.settle();
  same.connection.take = () => {};
  same.post("ada's");
  endToken(same);
  same.answer();
  signIn(same, "ada");
  same.settle();
  assert.deepEqual([same.texts(), same.server.entries[0].from], [["1 ada's"], "ada"]);
  // A guest who signs in decides.
  const guest = started({ name: "grace" });
  guest.settle();
  guest.connection.take = () => {};
  guest.post("grace's");
  guest.server.cookie = "ada";
  guest.cut();
  guest.settle();
  const [own] = guest.model.pending;
  assert.deepEqual([own.state, own.trouble.code, guest.said()], ["failed", "other-name", []]);
  guest.input({ type: "again", id: own.id });
  guest.settle();
  assert.deepEqual([guest.texts(), guest.server.entries[0].from], [["1 grace's"], "ada"]);
});

test("the commands for names say what they are for", () => {
  const guest = entered();
  guest.settle();
  type(guest, "/sign-out");
  assert.equal(noteOf(guest).key, "notSignedIn");
  const ada = entered("ada");
  ada.settle();
  type(ada, "/nick grace");
  assert.deepEqual([noteOf(ada).key, ada.model.known], ["nickSignedIn", "ada"]);
  type(ada, "/quit");
  assert.deepEqual([noteOf(ada).key, ada.model.link], ["quitSignedIn", "live"]);
});

test("a start view that is looked at again notices a sign-in in another tab, but not in the middle of its own", () => {
  const world = started();
  world.input({ type: "sign-in", name: "bob" });
  world.input({ type: "nudge" });
  world.server.cookie = "ada";
  world.answer();
  assert.equal(world.model.link, "out");
  world.input({ type: "sign-in-refused", trouble: { code: "wrong-secret", detail: "no" } });
  world.input({ type: "nudge" });
  world.answer();
  world.settle();
  assert.deepEqual([world.model.link, world.model.known], ["live", "ada"]);
});

test("a device is called by its browser and system, in at most 128 bytes", () => {
  const gecko = (system) => ({ userAgent: `Mozilla/5.0 (${system}; rv:140.0) Gecko/20100101 Firefox/140.0` });
  const webkit = (system, rest) => ({ userAgent: `Mozilla/5.0 (${system}) AppleWebKit/605.1.15 (KHTML, like Gecko) ${rest}` });
  const blink = (system, more = "") => webkit(system, `Chrome/140.0.0.0 Safari/537.36${more}`);
  const brands = (...names) => names.map((brand) => ({ brand, version: "1" }));
  for (const [navigator, text] of [
    [gecko("X11; Linux x86_64"), "Firefox on Linux"],
    [gecko("Android 15; Mobile"), "Firefox on Android"],
    [gecko("Windows NT 10.0; Win64; x64"), "Firefox on Windows"],
    [webkit("Macintosh; Intel Mac OS X 10_15_7", "Version/18.0 Safari/605.1.15"), "Safari on macOS"],
    [{ ...webkit("Macintosh; Intel Mac OS X 10_15_7", "Version/18.0 Safari/605.1.15"), maxTouchPoints: 5 }, "Safari on iPad"],
    [webkit("iPhone; CPU iPhone OS 18_0 like Mac OS X", "Version/18.0 Mobile/15E148 Safari/604.1"), "Safari on iPhone"],
    [webkit("iPhone; CPU iPhone OS 18_0 like Mac OS X", "CriOS/140.0 Mobile/15E148 Safari/604.1"), "Chrome on iPhone"],
    [blink("X11; CrOS x86_64 14541.0.0"), "Chrome on ChromeOS"],
    [blink("Windows NT 10.0; Win64; x64", " Edg/140.0.0.0"), "Edge on Windows"],
    [{ ...blink("Linux; Android 10; K"), userAgentData: { brands: brands("Chromium", "Google Chrome", "Not=A?Brand"), platform: "Android" } }, "Google Chrome on Android"],
    [{ userAgentData: { brands: brands("Not;A=Brand", "Chromium"), platform: "" } }, "Chromium"],
    [{ userAgent: "something of Linux" }, "Linux"],
    [{ userAgent: "curl" }, null],
    [{}, null],
  ]) assert.equal(deviceOf(navigator), text, JSON.stringify(navigator));
  const long = deviceOf({ userAgentData: { brands: brands("ă".repeat(100)), platform: "Linux" } });
  assert.equal(long, "ă".repeat(64));
});

test("who signs in is told how many failed to before, and from where the last one came", () => {
  for (const [failed, key] of [
    [undefined, undefined],
    [{ count: 3, last: "2026-05-01T10:30:00.001Z" }, "failedSignIns"],
    [{ count: 1, last: "2026-05-01T10:30:00.001Z", from: "203.0.113.9" }, "failedSignInsFrom"],
  ]) {
    const world = started();
    world.input({ type: "sign-in", name: "ada" });
    world.server.cookie = "ada";
    world.input({ type: "signed-in", name: "ada", failed });
    world.settle();
    const note = noteOf(world);
    assert.deepEqual([world.model.account, note?.key], ["ada", key]);
    if (failed) assert.deepEqual([note.values.count, note.values.from, note.at], [failed.count, failed.from, failed.last]);
  }
});
