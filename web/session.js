// One person in one room, as a state machine: `update` takes input and returns effects. No socket, no clock, no
// randomness, no DOM: they come with the input (`now` in ms, `random` from 0 to 1).
//
//     enter ──▶ connect ──▶ opened: hello, follow, unsent messages ──▶ live ──▶ closed ──▶ wait ──▶ connect …
//
// Nothing is lost: after a lost connection it follows again from its last `seq`, and repeats unacknowledged
// messages with the same id. Nothing is doubled: it drops events at or before that `seq`, and the server posts
// an id once. Own messages are sent one at a time, to keep their order.

import { Decoder, encode } from "./proto.js";
import { textOf } from "./text.js";

const CONTENT_BYTES_MAX = 64 << 20; // only against garbage: the server is our own
const PAGE = 100; // messages per request
const ITEMS_KEPT = 1_000; // on the screen while the newest are read
const ITEMS_MAX = 20_000; // while older ones are read
const GREETING_MS = 15_000; // from connecting to following
const SILENCE_MS = 25_000; // then it sends a ping
const PONG_MS = 20_000; // to wait for the reply
const GIVE_UP_MS = 3_600_000; // after that the outcome of a send is unknown
const BACKOFF_MS = 250;
const BACKOFF_MS_MAX = 15_000;
const SETTLED_MS = 5_000; // a connection that lives this long resets the backoff

/** Codes that can be retried later; `Code::is_retryable` in the server. */
const RETRYABLE = ["busy", "disk-full", "unavailable", "unknown", "clock-ahead", "view-behind", "stopping", "too-many"];

/** The initial state; `unsent` are messages from before a reload. */
export function begin(room, unsent = []) {
  return {
    room,
    name: null, // as chosen
    known: null, // our name from the server
    link: "out", // out | connecting | greeting | live | waiting
    until: null, // the deadline of the link's state
    failures: 0,
    since: 0, // when the link became live
    trouble: null, // { code, detail }: why the link is out or waiting, from the server
    decoder: null,
    place: null, // { journal, epoch, seq }: the resume position
    items: [], // in order: messages, holes, joined, left, room-created, topic
    notice: null, // set-back | other-journal: a note about the items
    past: { low: null, asked: null, got: [] }, // n of the oldest item; the requested page
    pending: unsent.map((own) => (own.state === "failed" ? own : { ...own, state: "waiting", trouble: null })),
    sending: null, // id of the message without a reply yet
    notBefore: 0, // no send before this time
    heard: 0, // when the last bytes came
    pinged: false,
    atEnd: true, // the newest are visible
    unread: 0,
    mark: null, // seq of the first unread
  };
}

/** Applies one input to the model; returns effects: connect, write, hang-up, say (to a screen reader). */
export function update(model, input, now, random = 0) {
  const effects = [];
  const act = {
    enter: () => enter(model, input.name, effects, now),
    leave: () => leave(model, effects),
    opened: () => opened(model, effects, now),
    bytes: () => bytes(model, input.bytes, effects, now, random),
    closed: () => closed(model, effects, now, random),
    tick: () => tick(model, effects, now, random),
    nudge: () => nudge(model, effects, now),
    post: () => post(model, input, now),
    again: () => again(model, input.id, now),
    discard: () => (model.pending = model.pending.filter((own) => own.id !== input.id || own.id === model.sending)),
    older: () => older(model, effects),
    scrolled: () => scrolled(model, input.atEnd),
    dismiss: () => (model.notice = null),
  };
  act[input.type]();
  sendNext(model, effects, now);
  return effects;
}

/** The time of the next tick; null: none. */
export function deadline(model) {
  const times = [model.until];
  if (model.link === "live") {
    times.push(model.heard + (model.pinged ? SILENCE_MS + PONG_MS : SILENCE_MS));
    if (model.sending === null && model.notBefore && model.pending.some(isWaiting)) times.push(model.notBefore);
  }
  times.push(...model.pending.filter((own) => isWaiting(own) && own.tried).map((own) => own.tried + GIVE_UP_MS));
  const due = times.filter((time) => time !== null);
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
  if (model.pending.some(isWaiting)) return;
  if (model.link !== "out") effects.push({ type: "hang-up" });
  forget(model);
  Object.assign(model, { link: "out", until: null, name: null, known: null, trouble: null, notice: null, sending: null, pending: [] });
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

function closed(model, effects, now, random) {
  if (model.link === "out" || model.link === "waiting") return;
  // A connection that is accepted and closed at once counts as a failure.
  if (model.link === "live" && now - model.since >= SETTLED_MS) model.failures = 0;
  const full = Math.min(BACKOFF_MS * 2 ** Math.min(model.failures, 6), BACKOFF_MS_MAX);
  model.failures += 1;
  // Jitter down to half, so that not all pages of a restarted server connect at the same time.
  Object.assign(model, { link: "waiting", until: now + full / 2 + (random * full) / 2, decoder: null, sending: null });
}

/** The server refuses finally, or the person leaves. */
function refuse(model, trouble, effects) {
  Object.assign(model, { link: "out", until: null, trouble, decoder: null, sending: null });
  effects.push({ type: "hang-up" });
}

/** Closes this connection; another follows. */
function hangUp(model, effects, now, random) {
  effects.push({ type: "hang-up" });
  closed(model, effects, now, random);
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
  for (const own of model.pending) {
    if (isWaiting(own) && own.tried && now >= own.tried + GIVE_UP_MS) {
      Object.assign(own, { state: "failed", trouble: { code: "unknown", detail: null } });
      if (model.sending === own.id) model.sending = null;
    }
  }
  if (model.link === "waiting" && now >= model.until) connect(model, effects, now);
  else if ((model.link === "connecting" || model.link === "greeting") && now >= model.until) hangUp(model, effects, now, random);
  else if (model.link === "live" && model.pinged && now >= model.heard + SILENCE_MS + PONG_MS) hangUp(model, effects, now, random);
  else if (model.link === "live" && !model.pinged && now >= model.heard + SILENCE_MS) ping(model, effects, model.heard);
  if (model.link === "live" && model.until !== null && now >= model.until) askEnd(model, effects);
}

function bytes(model, pieces, effects, now, random) {
  if (!model.decoder) return;
  Object.assign(model, { heard: now, pinged: false });
  model.decoder.feed(pieces);
  try {
    for (let message; model.decoder && (message = model.decoder.poll()); ) {
      if (message.header.text("event") !== null) live(model, message, effects);
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
  if (re !== null && re === model.sending) sent(model, header, trouble, wait, now);
  else if (re === "hello" || re === "follow") greeted(model, re, header, trouble, effects, now, random);
  else if (re === "end" || re === "page") turned(model, re, header, content, trouble, wait, effects, now);
  else if (re === null && trouble) {
    // An error about the connection, which closes. If it is about the message being sent, a retry would close
    // the next connection, too.
    model.trouble = trouble;
    const own = model.pending.find((own) => own.id === model.sending);
    if (own && (header.text("part") === "content" || header.text("part") === "header")) fail(model, own, trouble);
  }
}

function greeted(model, re, header, trouble, effects, now, random) {
  if (trouble === null) {
    if (re === "hello") model.known = header.text("name");
    if (re === "follow") followed(model, header, effects);
    return;
  }
  if (RETRYABLE.includes(trouble.code)) {
    model.trouble = trouble;
    hangUp(model, effects, now, random);
  } else if (re === "follow" && model.place && isSetBack(trouble.code, header)) {
    setBack(model, header.text("journal") ?? model.place.journal, header.number("seq"), header.text("epoch"));
    follow(model, effects);
  } else if (re === "follow" && model.place && trouble.code === "journal-changed") {
    forget(model);
    sendAgain(model);
    model.notice = "other-journal";
    follow(model, effects);
  } else {
    refuse(model, trouble, effects);
  }
}

function followed(model, header, effects) {
  const [journal, epoch, seq] = [header.text("journal"), header.text("epoch"), header.number("seq")];
  model.place = { journal, ...(epoch === null ? {} : { epoch }), seq };
  Object.assign(model, { link: "live", until: null, since: model.heard, trouble: null });
  // Earlier messages, the newest page first. Requested after `follow`, so that no message falls between the
  // two.
  if (model.past.low === null) askEnd(model, effects);
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
  sendAgain(model);
  model.notice = "set-back";
}

/** Acknowledged messages may be lost: with the same id they are posted if they are, and not doubled if not. */
function sendAgain(model) {
  for (const own of model.pending) if (own.state === "posted") own.state = "waiting";
}

/** Starts again with the room's current content. */
function forget(model) {
  Object.assign(model, { place: null, items: [], past: { low: null, asked: null, got: [] }, unread: 0, mark: null });
}

function live(model, message, effects) {
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
  if (item.event === "message") {
    settle(model, item.n);
    effects.push({ type: "say", item });
    if (!model.atEnd) {
      model.unread += 1;
      model.mark ??= item.seq;
    }
  }
  trim(model);
}

/** The item of an event; null for unknown events. */
function itemOf({ header, content }) {
  const event = header.text("event");
  const seq = header.number("seq");
  const item = { event, seq, room: header.text("room") };
  if (seq === null) return null;
  switch (event) {
    case "message": {
      const type = header.text("content-type");
      const encoding = header.text("content-encoding");
      const about = { n: header.number("n"), from: header.text("from"), time: header.text("time"), type, encoding };
      return { ...item, ...about, size: content.length, ...textOf({ header, content }) };
    }
    case "hole":
      return { ...item, n: header.number("from"), to: header.number("to"), why: header.text("why") };
    case "joined":
    case "left":
    case "room-created":
      return { ...item, from: header.text("from"), time: header.text("time") };
    case "topic":
      return { ...item, from: header.text("from"), time: header.text("time"), topic: header.text("topic") };
    default:
      return null;
  }
}

const isNumbered = (item) => item.event === "message" || item.event === "hole";

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
    else past.low ??= 1;
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
  model.items = [...past.got.filter((item) => item.n < first), ...model.items];
  past.low = past.asked.since + 1;
  past.asked = null;
  past.got = [];
  for (const item of model.items) if (item.event === "message") settle(model, item.n);
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

// Own messages: waiting -> removed (acknowledged and its event received), or failed.

const isWaiting = (own) => own.state === "waiting";

function post(model, { id, text }, now) {
  model.pending.push({ id, text, state: "waiting", trouble: null, written: now, tried: null, n: null });
}

function again(model, id) {
  const own = model.pending.find((own) => own.id === id && own.state === "failed");
  if (own) Object.assign(own, { state: "waiting", trouble: null, tried: null });
}

/** One at a time: the next is sent when the outcome of the previous one is known. */
function sendNext(model, effects, now) {
  if (model.link !== "live" || model.sending !== null || now < model.notBefore) return;
  const own = model.pending.find(isWaiting);
  if (!own) return;
  model.sending = own.id;
  own.tried ??= now;
  write(effects, { action: "send", room: model.room, id: own.id }, new TextEncoder().encode(own.text));
}

function sent(model, header, trouble, wait, now) {
  const own = model.pending.find((own) => own.id === model.sending);
  model.sending = null;
  if (!own) return;
  if (trouble === null) {
    Object.assign(own, { state: "posted", trouble: null, n: header.number("n") });
    // Its event may have come before the connection was lost.
    if (header.number("seq") <= model.place.seq) settle(model, own.n);
  } else if (RETRYABLE.includes(trouble.code)) {
    own.trouble = trouble;
    model.notBefore = now + (wait ?? 1_000);
  } else {
    fail(model, own, trouble);
  }
}

function fail(model, own, trouble) {
  Object.assign(own, { state: "failed", trouble });
  if (model.sending === own.id) model.sending = null;
}

/** The message is among the items: remove it from the pending ones. */
function settle(model, n) {
  model.pending = model.pending.filter((own) => own.state !== "posted" || own.n !== n);
}
