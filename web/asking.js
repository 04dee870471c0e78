// What the page asks beside the messages: who is here, which rooms there are, and what a person commands.
//
// The lists are asked for again while they are on the screen. A command is sent once, and only while connected: most of them
// cannot be repeated (docs/PROTOCOL.md, section 3), so after a lost connection the page says that the outcome is unknown.

import { encode } from "./proto.js";

const LOOK_MS = 20_000; // nobody reports that a reader comes or goes
const SOON_MS = 3_000; // somebody new was seen
const PAGE_ROOMS = 1_000; // in one answer at most

/** The initial state. */
export function begin() {
  return {
    isWatched: false, // the lists are on the screen
    due: null, // when they are asked for again
    people: null, // { list, more }: who is in the room
    rooms: null, // { list }
    pages: null, // rows of the rooms, while their pages come
    commands: [], // without a reply yet, in order
    note: null, // { key, values, list, at, isRefused }: the answer to a person's command
  };
}

export function note(model, key, values = {}, more = {}) {
  model.around.note = { key, values, ...more };
}

export function refuse(model, key, values) {
  note(model, key, values, { isRefused: true });
}

/** Asks for the lists, and again later if they are watched. */
export function look(model, effects, now) {
  const { around } = model;
  write(effects, { action: "who", room: model.room, re: "people" });
  // Each page of the rooms is a question: many are asked for less often.
  around.due = around.isWatched ? now + LOOK_MS * (1 + Math.floor((around.rooms?.list.length ?? 0) / PAGE_ROOMS)) : null;
  if (around.pages) return; // the last list is not complete yet
  around.pages = [];
  write(effects, { action: "rooms", re: "rooms" });
}

/** The lists follow what is seen to happen. */
export function happened({ around }, item, now) {
  if (item.event === "topic") {
    const changed = (row) => (row.room === item.room ? { ...row, topic: item.topic } : row);
    if (around.rooms) around.rooms = { list: around.rooms.list.map(changed) };
    if (around.pages) around.pages = around.pages.map(changed);
  }
  const isKnown = item.from === undefined || around.people?.list.some(({ name }) => name === item.from);
  if (around.isWatched && (!isKnown || item.event !== "message")) around.due = Math.min(around.due ?? Infinity, now + SOON_MS);
}

/** The connection ended. */
export function lost(model) {
  const { around } = model;
  around.due = around.pages = null;
  if (around.commands.length) refuse(model, "lostCommand", { form: around.commands[0].form });
  around.commands = [];
}

/** The topic of the room that is shown, as far as it is known. */
export const topicOf = ({ around, room }) => around.rooms?.list.find((row) => row.room === room)?.topic ?? "";

/** Sends a command: a row of commands.js with its argument. */
export function command(model, line, effects) {
  if (model.link !== "live") return refuse(model, "offline");
  model.around.commands.push(line);
  write(effects, { ...line.request(model, line.argument), re: "command" });
}

/** Takes a page of the rooms, and asks for the next one. */
function turned({ around }, header, content, trouble, effects) {
  if (trouble) {
    around.rooms = around.pages = null;
    return;
  }
  around.pages = [...(around.pages ?? []), ...listOf(header, content).list];
  const after = header.number("next");
  // The first list grows page by page; a later one takes its place when it is complete.
  if (after === null || around.pages.length > (around.rooms?.list.length ?? 0)) around.rooms = { list: around.pages };
  if (after === null) around.pages = null;
  else write(effects, { action: "rooms", after, re: "rooms" });
}

/** Takes a reply; returns the room to go to, if there is one. */
export function answered(model, re, header, content, trouble, effects) {
  const { around } = model;
  if (re === "rooms") {
    turned(model, header, content, trouble, effects);
    return null;
  }
  if (re !== "command") {
    around[re] = trouble ? null : listOf(header, content);
    return null;
  }
  const asked = around.commands.shift();
  if (!asked) return null;
  const { word, argument } = asked;
  const after = trouble ? null : header.number("next");
  if (after !== null && (word === "rooms" || word === "topic")) {
    around.commands.push({ ...asked, rows: [...(asked.rows ?? []), ...listOf(header, content).list] });
    write(effects, { action: "rooms", after, re: "command" });
    return null;
  }
  const isThere = word === "join" && trouble?.code === "already-member";
  if (trouble && !isThere) {
    refuse(model, "refused", trouble);
    return null;
  }
  const list = trouble ? null : listOf(header, content);
  if (asked.rows) list.list = [...asked.rows, ...list.list];
  const room = header.text("room") ?? argument.replace(/^#/, "");
  return asked.answer(model, { argument, room, list }) ?? null;
}

function listOf(header, content) {
  const result = resultOf(content);
  return { list: Array.isArray(result) ? result : [], more: header.number("left-out") ?? 0 };
}

/** The room that the answer to `follow` names. */
export function nameIn(content) {
  const result = resultOf(content);
  return typeof result === "string" && result !== "" ? result : null;
}

/** Of `{"result": …}`; null: the content is something else, as that of `history`. */
function resultOf(content) {
  try {
    return JSON.parse(new TextDecoder().decode(content)).result ?? null;
  } catch {
    return null;
  }
}

function write(effects, keys) {
  effects.push({ type: "write", bytes: encode(keys) });
}
