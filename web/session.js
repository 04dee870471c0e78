// One person in one room, as a state machine: `update` takes input and returns effects. No socket, no clock, no
// randomness, no DOM: they come with the input (`now` in ms, `random` from 0 to 1).
//
//     enter ──▶ connect ──▶ opened: hello, follow, unsent messages ──▶ live ──▶ closed ──▶ wait ──▶ connect …
//
// Nothing is lost: after a lost connection it follows again from its last `seq`, and repeats unacknowledged
// messages with the same id. Nothing is doubled: it drops events at or before that `seq`, and the server posts
// an id once.

import * as asking from "./asking.js";
import { read } from "./commands.js";
import { isNumbered, itemOf, keep } from "./items.js";
import * as outbox from "./outbox.js";
import { Decoder, encode } from "./proto.js";

const CONTENT_BYTES_MAX = 64 << 20; // only against garbage: the server is our own
const PAGE = 100; // messages per request
const ITEMS_KEPT = 1_000; // on the screen while the newest are read
const ITEMS_MAX = 20_000; // while older ones are read
const GREETING_MS = 15_000; // from connecting to following
const SILENCE_MS = 25_000; // then it sends a ping
const PONG_MS = 20_000; // to wait for the reply
const BACKOFF_MS = 250;
const BACKOFF_MS_MAX = 15_000;
const SETTLED_MS = 5_000; // a connection that lives this long resets the backoff

export const HOME = "general"; // the room that everybody begins in

/** The initial state; `unsent` are messages from before a reload. */
export function begin(room, unsent = []) {
  return {
    room,
    name: null, // as chosen
    former: null, // the name to go back to if the server refuses the chosen one
    known: null, // our name from the server
    link: "out", // out | connecting | greeting | live | waiting
    until: null, // the deadline of the link's state
    failures: 0,
    since: 0, // when the link became live
    trouble: null, // { code, detail }: why the link is out or waiting, from the server
    decoder: null,
    place: null, // { journal, epoch, seq }: the resume position
    items: [], // in order: messages, holes, joined, left, room-created, topic
    notice: null, // set-back | other-journal | outdated: a note about the items or the page
    admission: null, // what the server admits from where this browser is; null: not known
    around: asking.begin(), // people, rooms, commands
    past: { low: null, asked: null, got: [] }, // n of the oldest item; the requested page
    pending: outbox.restored(unsent, HOME),
    sending: null, // id of the message without a reply yet
    notBefore: 0, // no send before this time
    heard: 0, // when the last bytes came
    pinged: false,
    atEnd: true, // the newest are visible
    unread: 0,
    mark: null, // seq of the first unread
  };
}

/** Applies one input to the model; returns effects: connect, write, hang-up, say (to a screen reader), keep-name. */
export function update(model, input, now, random = 0) {
  const effects = [];
  const act = {
    enter: () => enter(model, input.name, effects, now),
    leave: () => leave(model, effects),
    opened: () => opened(model, effects, now),
    bytes: () => bytes(model, input.bytes, effects, now, random),
    closed: () => closed(model, now, random),
    tick: () => tick(model, effects, now, random),
    nudge: () => nudge(model, effects, now),
    admission: () => (model.admission = input.admission),
    typed: () => typed(model, input, effects, now),
    go: () => go(model, input.room, effects, now),
    watch: () => watch(model, input.isWatched, effects, now),
    load: () => load(model, input.n, effects),
    "close-note": () => (model.around.note = null),
    again: () => outbox.again(model, input.id, now),
    discard: () => (model.pending = model.pending.filter((own) => own.id !== input.id || own.id === model.sending)),
    older: () => older(model, effects),
    scrolled: () => scrolled(model, input.atEnd),
    dismiss: () => (model.notice = null),
    outdated: () => outdated(model),
  };
  act[input.type]();
  outbox.sendNext(model, effects, now);
  return effects;
}

/** The time of the next tick; null: none. */
export function deadline(model) {
  const times = [model.until];
  if (model.link === "live") {
    times.push(model.heard + (model.pinged ? SILENCE_MS + PONG_MS : SILENCE_MS));
    if (model.sending === null && model.notBefore && model.pending.some(outbox.isWaiting)) times.push(model.notBefore);
    times.push(model.around.due);
  }
  times.push(...model.pending.map(outbox.expiry));
  const due = times.filter((time) => time !== null && time !== Infinity);
  return due.length ? Math.min(...due) : null;
}

/** Is there anything before the oldest item? */
export function hasOlder(model) {
  return model.past.low !== null && model.past.low > 1;
}

function enter(model, name, effects, now) {
  model.name = name;
  model.trouble = null;
  connect(model, effects, now);
}

/** Not while a message is unsent: under another name its id would post it twice. */
function leave(model, effects) {
  if (model.pending.some(outbox.isWaiting)) return asking.refuse(model, "changeNameWaits");
  if (model.link !== "out") effects.push({ type: "hang-up" });
  effects.push({ type: "keep-name", name: null });
  forget(model);
  const around = { ...asking.begin(), isWatched: model.around.isWatched };
  Object.assign(model, { link: "out", until: null, name: null, former: null, known: null, trouble: null, notice: null, sending: null, pending: [], around });
}

/** The same for another name; what is on the screen stays. */
function rename(model, name, effects, now) {
  if (model.link !== "live") return asking.refuse(model, "offline");
  if (model.pending.some(outbox.isWaiting)) return asking.refuse(model, "changeNameWaits");
  Object.assign(model, { former: model.name, name, known: null });
  reconnect(model, effects, now);
}

/** Into another room: by a new connection, so that nobody is shown in two rooms. */
function go(model, room, effects, now) {
  if (room === model.room) return;
  forget(model);
  Object.assign(model, { room, atEnd: true, notice: null, trouble: null, pending: model.pending.filter((own) => own.state !== "posted") });
  Object.assign(model.around, { people: null, note: null });
  if (model.link !== "out") reconnect(model, effects, now);
}

function reconnect(model, effects, now) {
  effects.push({ type: "hang-up" });
  asking.lost(model);
  connect(model, effects, now);
}

/** A part of the page is not on the server any more. Without a connection that means nothing. */
function outdated(model) {
  if (model.link === "live") model.notice = "outdated";
}

function watch(model, isWatched, effects, now) {
  if (isWatched === model.around.isWatched) return;
  model.around.isWatched = isWatched;
  model.around.due = null;
  if (isWatched && model.link === "live") asking.look(model, effects, now);
}

/** A text is posted; a command is done; anything else stays with the person, with the reason. */
function typed(model, { id, text }, effects, now) {
  model.around.note = null;
  const line = read(text);
  if (line.wrong) asking.refuse(model, line.wrong.key, line.wrong.values);
  else if (line.text !== undefined) outbox.post(model, { id, text: line.text }, now);
  else if (line.word === "help") asking.note(model, "help");
  else if (line.word === "nick") rename(model, line.argument, effects, now);
  else if (line.word === "quit") leave(model, effects);
  else asking.command(model, line, effects);
}

function connect(model, effects, now) {
  Object.assign(model, { link: "connecting", until: now + GREETING_MS, decoder: new Decoder(CONTENT_BYTES_MAX), sending: null });
  model.past.asked = null;
  model.past.got = [];
  effects.push({ type: "connect" });
}

function opened(model, effects, now) {
  if (model.link !== "connecting") return;
  Object.assign(model, { link: "greeting", heard: now, pinged: false });
  write(effects, { action: "hello", as: model.name, re: "hello" });
  follow(model, effects);
}

function follow(model, effects) {
  const { room, place } = model;
  write(effects, { action: "follow", room, re: "follow", ...place });
}

function write(effects, keys, content) {
  effects.push({ type: "write", bytes: encode(keys, content) });
}

function closed(model, now, random) {
  if (model.link === "out" || model.link === "waiting") return;
  asking.lost(model);
  // A connection that is accepted and closed at once counts as a failure.
  if (model.link === "live" && now - model.since >= SETTLED_MS) model.failures = 0;
  const full = Math.min(BACKOFF_MS * 2 ** Math.min(model.failures, 6), BACKOFF_MS_MAX);
  model.failures += 1;
  // Jitter down to half, so that not all pages of a restarted server connect at the same time.
  Object.assign(model, { link: "waiting", until: now + full / 2 + (random * full) / 2, decoder: null, sending: null });
}

/** The server refuses finally, or the person leaves. */
function refuse(model, trouble, effects, now) {
  effects.push({ type: "hang-up" });
  asking.lost(model);
  if (model.former !== null) {
    asking.refuse(model, "refused", trouble);
    Object.assign(model, { name: model.former, former: null });
    return connect(model, effects, now);
  }
  Object.assign(model, { link: "out", until: null, trouble, decoder: null, sending: null });
}

/** Closes this connection; another follows. */
function hangUp(model, effects, now, random) {
  effects.push({ type: "hang-up" });
  closed(model, now, random);
}

/** The network changed, or the page is visible again. */
function nudge(model, effects, now) {
  if (model.link === "waiting") connect(model, effects, now);
  else if (model.link === "live" && !model.pinged) ping(model, effects, now - SILENCE_MS);
}

function ping(model, effects, heard) {
  Object.assign(model, { heard, pinged: true });
  write(effects, { action: "ping", re: "ping" });
}

function tick(model, effects, now, random) {
  outbox.expire(model, now);
  if (model.link === "waiting" && now >= model.until) connect(model, effects, now);
  else if ((model.link === "connecting" || model.link === "greeting") && now >= model.until) hangUp(model, effects, now, random);
  else if (model.link === "live" && model.pinged && now >= model.heard + SILENCE_MS + PONG_MS) hangUp(model, effects, now, random);
  else if (model.link === "live" && !model.pinged && now >= model.heard + SILENCE_MS) ping(model, effects, model.heard);
  if (model.link === "live" && model.until !== null && now >= model.until) askEnd(model, effects);
  if (model.link === "live" && model.around.due !== null && now >= model.around.due) asking.look(model, effects, now);
}

function bytes(model, pieces, effects, now, random) {
  if (!model.decoder) return;
  Object.assign(model, { heard: now, pinged: false });
  model.decoder.feed(pieces);
  try {
    for (let message; model.decoder && (message = model.decoder.poll()); ) {
      if (message.header.text("event") !== null) live(model, message, effects, now);
      else reply(model, message, effects, now, random);
    }
  } catch (malformed) {
    model.trouble = { code: "malformed", detail: malformed.message };
    hangUp(model, effects, now, random);
  }
}

/** A reply's `re` names its request; for a send it is the id. */
function reply(model, { header, content }, effects, now, random) {
  const re = header.text("re");
  const isOk = header.text("status") === "ok";
  const trouble = isOk ? null : { code: header.text("code"), detail: header.text("detail") };
  const wait = header.number("retry-after");
  if (re !== null && re === model.sending) outbox.sent(model, header, trouble, wait, now);
  else if (re === "hello" || re === "follow") greeted(model, re, { header, content }, trouble, effects, now, random);
  else if (re === "people" || re === "rooms" || re === "command") {
    const room = asking.answered(model, re, header, content, trouble, effects);
    if (room !== null) go(model, room, effects, now);
  } else if (re === "load") trouble ? asking.refuse(model, "refused", trouble) : loaded(model, content);
  else if (re === "end" || re === "page") turned(model, re, header, content, trouble, wait, effects, now);
  else if (re === null && trouble) {
    // An error about the connection, which closes. If it is about the message being sent, a retry would close
    // the next connection, too.
    model.trouble = trouble;
    const own = model.pending.find((own) => own.id === model.sending);
    if (own && (header.text("part") === "content" || header.text("part") === "header")) outbox.fail(model, own, trouble);
  }
}

function greeted(model, re, message, trouble, effects, now, random) {
  const { header } = message;
  if (trouble === null) {
    if (re === "hello") model.known = header.text("name");
    if (re === "follow") followed(model, message, effects, now);
    return;
  }
  if (outbox.RETRYABLE.includes(trouble.code)) {
    model.trouble = trouble;
    hangUp(model, effects, now, random);
  } else if (re === "follow" && model.place && isSetBack(trouble.code, header)) {
    setBack(model, header.text("journal") ?? model.place.journal, header.number("seq"), header.text("epoch"));
    follow(model, effects);
  } else if (re === "follow" && model.place && trouble.code === "journal-changed") {
    forget(model);
    outbox.sendAgain(model);
    model.notice = "other-journal";
    follow(model, effects);
  } else if (re === "follow" && model.room !== HOME && ["no-room", "bad-name"].includes(trouble.code)) {
    // As a link to the page can name it.
    asking.refuse(model, "refused", trouble);
    forget(model);
    model.room = HOME;
    follow(model, effects);
  } else {
    refuse(model, trouble, effects, now);
  }
}

function followed(model, { header, content }, effects, now) {
  // The room as it is written in events.
  const room = asking.nameIn(content);
  if (room !== null) {
    for (const own of model.pending) if (own.room === model.room) own.room = room;
    model.room = room;
  }
  const [journal, epoch, seq] = [header.text("journal"), header.text("epoch"), header.number("seq")];
  model.place = { journal, ...(epoch === null ? {} : { epoch }), seq };
  Object.assign(model, { link: "live", until: null, since: model.heard, trouble: null, former: null });
  effects.push({ type: "keep-name", name: model.name });
  // Earlier messages, the newest page first. Requested after `follow`, so that no message falls between the
  // two.
  if (model.past.low === null) askEnd(model, effects);
  else asking.look(model, effects, now);
}

/** Is there a common position? A journal restored from a backup of the known one sends it as `seq`. */
function isSetBack(code, header) {
  return code === "seq-ahead" || (code === "journal-changed" && header.text("journal") !== null && header.number("seq") !== null);
}

/** An older copy of the journal was put back, or restored from a backup: events after `seq` come again. */
function setBack(model, journal, seq, epoch) {
  const kept = seq === null ? [] : model.items.filter((item) => item.seq <= seq);
  if (kept.some(isNumbered)) {
    model.items = kept;
    model.place = { journal, ...(epoch === null ? {} : { epoch }), seq };
  } else {
    forget(model);
  }
  outbox.sendAgain(model);
  model.notice = "set-back";
}

/** Starts again with the room's current content. */
function forget(model) {
  Object.assign(model, { place: null, items: [], past: { low: null, asked: null, got: [] }, unread: 0, mark: null });
}

function live(model, message, effects, now) {
  if (message.header.text("event") === "epoch") {
    // Another process of the server orders as well from here on: by this we are known when we come back.
    if (model.place !== null) model.place.epoch = message.header.text("epoch");
    return;
  }
  if (message.header.text("event") === "closing") {
    model.trouble = { code: "closing", detail: message.header.text("why") };
    return;
  }
  const item = itemOf(message);
  if (item === null || model.place === null || item.seq <= model.place.seq) return;
  model.place.seq = item.seq;
  // An event about several rooms names none.
  if (item.room !== null && item.room !== model.room) return;
  if (isNumbered(item)) {
    // A page of history can contain it already.
    const last = model.items.findLast(isNumbered);
    const known = last ? (last.to ?? last.n) : 0;
    if ((item.to ?? item.n) <= known) return;
    if (item.event === "hole") item.n = Math.max(item.n, known + 1);
  }
  model.items.push(item);
  keep(model);
  asking.happened(model, item, now);
  if (item.event === "message") {
    outbox.settle(model, item.n);
    effects.push({ type: "say", item });
    if (!model.atEnd) {
      model.unread += 1;
      model.mark ??= item.seq;
    }
  }
  trim(model);
}

// Older messages: `past.asked` is { since, upto }: numbers since < n <= upto are requested. They join the items
// only when all have come, so that a lost connection leaves no gap.

function askEnd(model, effects) {
  model.until = null;
  write(effects, { action: "history", room: model.room, limit: 1, re: "end" });
}

function older(model, effects) {
  if (model.link !== "live" || model.past.asked || !hasOlder(model)) return;
  ask(model, model.past.low - 1, effects);
}

function ask(model, upto, effects) {
  model.past.asked = { since: Math.max(0, upto - PAGE), upto };
  model.past.got = [];
  askFrom(model, model.past.asked.since, effects);
}

function askFrom(model, since, effects) {
  const limit = model.past.asked.upto - since;
  write(effects, { action: "history", room: model.room, since, limit, re: "page" });
}

function turned(model, re, header, content, trouble, wait, effects, now) {
  const { past } = model;
  if (trouble) {
    past.asked = null; // older ones are requested by the next scroll, the newest page by the next tick
    if (past.low === null) model.until = now + (wait ?? BACKOFF_MS_MAX);
    return;
  }
  if (re === "end") {
    if (past.low === null && header.number("end") > 0) ask(model, header.number("end"), effects);
    else if (past.low === null) reached(model, effects, now, 1);
    return;
  }
  if (!past.asked) return;
  const pages = new Decoder(CONTENT_BYTES_MAX);
  pages.feed(content);
  for (let message; (message = pages.poll()); ) {
    const item = itemOf(message);
    if (item) past.got.push(item);
  }
  const last = header.number("last");
  if (last < past.asked.upto && header.number("count") > 0) {
    askFrom(model, last, effects); // more than one reply holds
    return;
  }
  // Messages that came live meanwhile are in both.
  const first = model.items.find(isNumbered)?.n ?? Infinity;
  const older = past.got.filter((item) => item.n < first);
  model.items = [...older, ...model.items];
  keep(model);
  reached(model, effects, now, past.asked.since + 1);
  past.asked = null;
  past.got = [];
  for (const item of model.items) if (item.event === "message") outbox.settle(model, item.n);
}

/** The oldest item is known; after the first time the rest of the page is asked for. */
function reached(model, effects, now, low) {
  if (model.past.low === null) asking.look(model, effects, now);
  model.past.low = low;
}

/** Asks for a released message again. */
function load(model, n, effects) {
  if (model.link === "live") write(effects, { action: "history", room: model.room, since: n - 1, limit: 1, re: "load" });
}

function loaded(model, content) {
  const pages = new Decoder(CONTENT_BYTES_MAX);
  pages.feed(content);
  const message = pages.poll();
  const item = message && itemOf(message);
  const at = model.items.findIndex((known) => item?.bytes && known.event === "message" && known.n === item.n && known.isReleased);
  if (at === -1) return;
  model.items[at] = item;
}

function trim(model) {
  const max = model.atEnd ? 1.5 * ITEMS_KEPT : ITEMS_MAX;
  // Not while a page of older ones is requested, which must join the oldest item.
  if (model.items.length <= max || model.past.asked || model.past.low === null) return;
  const kept = model.items.slice(-(model.atEnd ? ITEMS_KEPT : ITEMS_MAX / 2));
  const first = kept.find(isNumbered);
  if (!first) return;
  model.items = kept;
  model.past.low = first.n;
}

function scrolled(model, atEnd) {
  model.atEnd = atEnd;
  if (atEnd) model.unread = 0;
  // The mark stays until something new comes after the end was visible, so that the reader finds it.
  if (!atEnd && model.unread === 0) model.mark = null;
  trim(model);
}
