// Somebody opens the link of an invitation: the form, who is signed in already, refusals; with the server of world.mjs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { wayOf, ways } from "../identity.js";
import { invitationIn } from "../invitation.js";
import { encode } from "../proto.js";
import { deadline } from "../session.js";
import { World } from "./world.mjs";

const CODE = "vang_invite_00112233445566778899aabbccddeeff";
const effects = (world, type) => world.effects.filter((effect) => effect.type === type);
const door = ({ model }) => [model.link, wayOf(model), model.door.hasCode, model.door.current];

/** A page that is opened by a link. */
function opened({ name = null, cookie = null } = {}) {
  const world = new World(() => 0.5);
  world.server.accounts = ["ada", "bob"];
  world.server.cookie = cookie;
  world.input({ type: "begin", name, isInvited: true });
  world.answer();
  return world;
}

function accept(world, name) {
  world.input({ type: "accept", name });
  world.server.accounts.push(name);
  world.server.cookie = name;
  world.input({ type: "signed-in", name });
  world.settle();
}

test("a code is found in a link, whole or cut, and alone", () => {
  for (const text of [CODE, ` ${CODE}\n`, `https://chat.example/#invite=${CODE}`, `#invite=${CODE}`, `invite=${CODE}`, `<https://chat.example/#invite=${CODE}`]) {
    assert.deepEqual(invitationIn(text), { code: CODE, name: null }, text);
  }
  assert.deepEqual(invitationIn(`#invite=${CODE}&name=b%C3%ACnh&more=1`), { code: CODE, name: "bình" });
  for (const text of ["", "  ", "#invite=", "#invite=&name=ada", "https://chat.example/#invite=%20"]) assert.equal(invitationIn(text), null, text);
  assert.equal(invitationIn("#invite=%zz%").code, "%zz%", "what is no encoding stays as it is");
});

test("who opens a link gets its form, with the name of before, and is in with a name and a password", () => {
  const world = opened({ name: "grace" });
  assert.deepEqual(door(world), ["out", "invitation", true, null]);
  assert.deepEqual([world.connects, world.model.door.name], [0, "grace"]);
  accept(world, "grace");
  assert.deepEqual([world.model.link, world.model.account, world.model.known], ["live", "grace", "grace"]);
  assert.deepEqual(effects(world, "accept"), [{ type: "accept" }]);
  assert.deepEqual(effects(world, "keep-name"), [{ type: "keep-name", name: null }, { type: "keep-name", name: null }]);
  assert.equal(world.model.door.hasCode, false);
});

test("who is signed in already is asked: on as he is, or another account", () => {
  const stays = opened({ cookie: "ada" });
  assert.deepEqual(door(stays), ["out", "invitation", true, "ada"]);
  stays.input({ type: "stay" });
  stays.settle();
  assert.deepEqual([stays.model.known, stays.model.door.hasCode], ["ada", false]);

  const leaves = opened({ cookie: "ada" });
  // Looked at again, it stays.
  leaves.input({ type: "nudge" });
  leaves.answer();
  assert.deepEqual(door(leaves), ["out", "invitation", true, "ada"]);
  leaves.input({ type: "accept", name: "ada" });
  leaves.input({ type: "sign-in-refused", trouble: { code: "name-taken", detail: "there is one" } });
  assert.deepEqual(door(leaves), ["out", "invitation", true, "ada"]);
  accept(leaves, "grace");
  assert.equal(leaves.model.known, "grace");
});

test("a link that is opened in a tab with a room ends its connection, and asks", () => {
  for (const [name, cookie] of [[null, "ada"], ["grace", null]]) {
    const world = new World(() => 0.5);
    Object.assign(world.server, { accounts: ["ada"], cookie });
    world.input({ type: "begin", name });
    world.answer();
    world.settle();
    world.input({ type: "invited" });
    assert.deepEqual([world.connection, world.model.items], [null, []]);
    assert.deepEqual(door(world), ["out", "invitation", true, cookie]);
    assert.equal(world.model.door.name, name ?? "");
    world.answer();
    assert.deepEqual(door(world), ["out", "invitation", true, cookie]);
  }
  // While it is asked who we are, also after a lost connection.
  const world = new World(() => 0.5);
  Object.assign(world.server, { accounts: ["ada"], cookie: "ada" });
  world.input({ type: "begin", name: null });
  world.answer();
  world.settle();
  world.input({ type: "bytes", bytes: encode({ event: "closing", why: "signed-out" }) });
  world.input({ type: "invited" });
  world.server.cookie = null;
  world.answer();
  assert.deepEqual(door(world), ["out", "invitation", true, null]);
});

test("a code that is refused is asked for again; other refusals keep it", () => {
  const world = opened();
  const refused = (code, more = {}) => {
    world.input({ type: "accept", name: "grace" });
    world.input({ type: "sign-in-refused", trouble: { code, detail: "no", ...more } });
  };
  for (const code of ["name-taken", "weak-password", "unreachable"]) {
    refused(code);
    assert.deepEqual([...door(world), world.model.door.trouble.code], ["out", "invitation", true, null, code]);
  }
  // A busy server is asked again, when it says.
  refused("busy", { wait: 7_000 });
  assert.equal(deadline(world.model), world.now + 7_000);
  world.now += 7_000;
  world.input({ type: "tick" });
  assert.equal(effects(world, "accept").length, 5);
  world.input({ type: "sign-in-refused", trouble: { code: "no-invitation", detail: "no" } });
  assert.deepEqual([...door(world), world.model.door.trouble.code], ["out", "invitation", false, null, "no-invitation"]);
});

test("from a link to another way and back, and to the form without a link", () => {
  const world = opened();
  world.input({ type: "way", way: null, name: "gra" });
  assert.deepEqual([wayOf(world.model), ways(world.model), world.model.door.name], ["guest", ["guest", "account"], "gra"]);
  world.input({ type: "way", way: "invitation", name: "gra" });
  assert.deepEqual(door(world), ["out", "invitation", true, null]);
  // Where guests are not admitted, too.
  const nobody = new World(() => 0.5);
  nobody.input({ type: "begin", name: null });
  nobody.answer();
  nobody.input({ type: "admission", admission: { guests: false } });
  nobody.input({ type: "way", way: "invitation", name: "" });
  assert.deepEqual(door(nobody), ["out", "invitation", false, null]);
  // A sign-in in another tab does not take the form away without a question.
  nobody.server.cookie = "ada";
  nobody.input({ type: "nudge" });
  nobody.answer();
  assert.deepEqual(door(nobody), ["out", "invitation", false, "ada"]);
});
