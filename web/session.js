// One person in one room, as a state machine: `update` takes input and returns effects. No socket, no clock, no
// randomness, no DOM: they come with the input (`now` in ms, `random` from 0 to 1).
//
//     begin: who are we? ──▶ connect ──▶ opened: hello, follow, unsent messages ──▶ live ──▶ closed ──▶ wait ──▶ connect …
//          └──▶ start view: a guest enters, or somebody signs in ──▶ connect
//
// Nothing is lost: after a lost connection it follows again from its last `seq`, and repeats unacknowledged
// messages with the same id. Nothing is doubled: it drops events at or before that `seq`, and the server posts
// an id once.

import * as asking from "./asking.js";
import * as identity from "./identity.js";
import { isNumbered, itemOf, keep } from "./items.js";
import * as outbox from "./outbox.js";
import * as past from "./past.js";
import { Decoder, encode } from "./proto.js";

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
    name: null, // of a guest, as chosen
    former: null, // the name to go back to if the server refuses the chosen one
    account: null, // what this browser is signed in as
    known: null, // our name from the server
    isDoubtful: false, // the server is asked who we are before the next connection
    isSigningOut: false,
    door: identity.begin(), // the start view
    link: "out", // out | asking (who we are) | connecting | greeting | live | waiting
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
    past: past.begin(), // earlier messages
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

/**
 * Applies one input to the model; returns effects: connect, write, hang-up, say (to a screen reader), keep-name, and the requests
 * ask-session, ask-admission, sign-in, accept, sign-out.
 */
export function update(model, input, now, random = 0) {
  const effects = [];
  const act = {
    begin: () => begun(model, input, effects, now),
    session: () => told(model, input, effects, now, random),
    enter: () => enter(model, input.name, effects, now),
    leave: () => leave(model, effects),
    invited: () => invited(model, effects),
    stay: () => model.door.current && enterAs(model, model.door.current, effects, now),
    way: () => identity.choose(model, input.way, input.name),
    "sign-in": () => identity.signIn(model, input.type, input.name, effects),
    accept: () => identity.signIn(model, input.type, input.name, effects),
    "signed-in": () => model.door.signing && signedIn(model, input, effects, now),
    "sign-in-refused": () => identity.refused(model, input.trouble, now),
    "cancel-sign-in": () => identity.cancel(model),
    "sign-out": () => signOut(model, effects),
    "signed-out": () => model.isSigningOut && toDoor(Object.assign(model, { room: HOME, pending: [] }), effects),
    "sign-out-refused": () => signOutRefused(model, input.trouble, effects, now),
    opened: () => opened(model, effects, now),
    bytes: () => bytes(model, input.bytes, effects, now, random),
    closed: () => closed(model, now, random),
    tick: () => tick(model, effects, now, random),
    nudge: () => nudge(model, effects, now),
    admission: () => (model.admission = input.admission),
    typed: () => typed(model, input, effects, now),
    go: () => go(model, input.room, effects, now),
    watch: () => watch(model, input.isWatched, effects, now),
    load: () => past.load(model, input.n, effects),
    "close-note": () => (model.around.note = null),
    again: () => outbox.again(model, input.id, now),
    discard: () => (model.pending = model.pending.filter((own) => own.id !== input.id || own.id === model.sending)),
    older: () => past.older(model, effects),
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
  const times = [model.until, model.door.signing?.until ?? null];
  if (model.link === "live") {
    times.push(model.heard + (model.pinged ? SILENCE_MS + PONG_MS : SILENCE_MS));
    if (model.sending === null && model.notBefore && model.pending.some(outbox.isWaiting)) times.push(model.notBefore);
    times.push(model.around.due);
  }
  times.push(...model.pending.map(outbox.expiry));
  const due = times.filter((time) => time !== null && time !== Infinity);
  return due.length ? Math.min(...due) : null;
}

function begun(model, { name, isInvited }, effects, now) {
  askWho(Object.assign(model, { name }), effects, now);
  if (isInvited) invited(model, effects);
}

/** Asks the server who this browser is signed in as. */
function askWho(model, effects, now) {
  Object.assign(model, { link: "asking", until: now + GREETING_MS, isDoubtful: true });
  effects.push({ type: "ask-session" });
}

/** The answer: an account, nobody (null), or `trouble` instead. */
function told(model, { name, trouble }, effects, now, random) {
  const isInvited = model.door.way === "invitation";
  if (model.link === "out") {
    // Somebody signed in beside the start view, in another tab.
    if (isInvited) model.door.current = trouble ? model.door.current : name;
    else if (name && !model.door.signing) enterAs(model, name, effects, now);
  } else if (model.link !== "asking" || model.isSigningOut) {
    // Too late.
  } else if (trouble) {
    model.trouble = trouble;
    hangUp(model, effects, now, random);
  } else if (isInvited) {
    // Whoever it is, an invitation is looked at first.
    toDoor(model, effects, { ...identity.invited(model), current: name });
  } else if (name) {
    enterAs(model, name, effects, now);
  } else if (model.account !== null) {
    // Who was never known by the cookie has a browser that keeps none.
    toDoor(model, effects, { way: "account", name: model.account, why: model.known === null ? "noCookie" : "signedOut" });
  } else if (model.name !== null) {
    connect(model, effects, now);
  } else {
    toDoor(model, effects);
  }
}

/** A guest enters. */
function enter(model, name, effects, now) {
  Object.assign(model, { name, trouble: null, door: identity.begin() });
  connect(model, effects, now);
}

/** This browser is signed in as an account. */
function enterAs(model, account, effects, now) {
  if (account !== model.account) {
    const wasSomebody = model.known !== null;
    forget(model);
    model.around = { ...asking.begin(), isWatched: model.around.isWatched };
    model.known = null;
    if (wasSomebody) asking.note(model, "nowIs", { name: account });
  }
  Object.assign(model, { account, name: null, former: null, trouble: null, door: identity.begin() });
  effects.push({ type: "keep-name", name: null });
  connect(model, effects, now);
}

/** A person has signed in, and is told who else tried to. */
function signedIn(model, { name, failed }, effects, now) {
  enterAs(model, name, effects, now);
  if (!failed) return;
  const { count, last, from } = failed;
  asking.note(model, from ? "failedSignInsFrom" : "failedSignIns", { count, from }, { at: last });
}

/** Shows the start view, and nothing of what was there. */
function toDoor(model, effects, door = {}) {
  effects.push({ type: "hang-up" }, { type: "ask-admission" });
  forget(model);
  const around = { ...asking.begin(), isWatched: model.around.isWatched };
  const nobody = { name: null, former: null, account: null, known: null, isDoubtful: false, isSigningOut: false };
  Object.assign(model, { ...nobody, link: "out", until: null, decoder: null, trouble: null, notice: null, sending: null, around });
  model.door = { ...identity.begin(), ...door };
}

/** A link was opened. What was written and not sent waits for its author. */
function invited(model, effects) {
  const door = identity.invited(model);
  if (model.link === "asking") model.door = door;
  else toDoor(model, effects, door);
  if (model.link === "out") effects.push({ type: "ask-session" });
}

/** Not while a message is unsent: under another name its id would post it twice. */
function leave(model, effects) {
  if (model.account !== null) return asking.refuse(model, "quitSignedIn");
  if (model.pending.some(outbox.isWaiting)) return asking.refuse(model, "changeNameWaits");
  effects.push({ type: "keep-name", name: null });
  model.pending = [];
  toDoor(model, effects);
}

/** In all tabs of this browser. */
function signOut(model, effects) {
  if (model.account === null) return asking.refuse(model, "notSignedIn");
  if (model.link !== "live") return asking.refuse(model, "offline");
  if (model.pending.some(outbox.isWaiting)) return asking.refuse(model, "changeNameWaits");
  model.isSigningOut = true;
  effects.push({ type: "sign-out" });
}

function signOutRefused(model, trouble, effects, now) {
  if (!model.isSigningOut) return;
  model.isSigningOut = false;
  asking.refuse(model, "refused", trouble);
  if (model.link === "asking") askWho(model, effects, now);
}

/** The same for another name; what is on the screen stays. */
function rename(model, name, effects, now) {
  if (model.account !== null) return asking.refuse(model, "nickSignedIn", { name: model.account });
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
  if (model.link !== "out" && model.link !== "asking") reconnect(model, effects, now);
}

function reconnect(model, effects, now) {
  effects.push({ type: "hang-up" });
  asking.lost(model);
  tryAgain(model, effects, now);
}

function tryAgain(model, effects, now) {
  if (model.isDoubtful) askWho(model, effects, now);
  else connect(model, effects, now);
}

/** A part of the page is not on the server any more. While a connection is lost that means nothing. */
function outdated(model) {
  if (model.link === "live") model.notice = "outdated";
  if (model.link === "out") model.door.why = "outdated";
}

function watch(model, isWatched, effects, now) {
  if (isWatched === model.around.isWatched) return;
  model.around.isWatched = isWatched;
  model.around.due = null;
  if (isWatched && model.link === "live") asking.look(model, effects, now);
}

/** A line as commands.js reads it. A text is posted; a command is done; anything else stays with the person, with the reason. */
function typed(model, { id, line }, effects, now) {
  model.around.note = null;
  if (line.wrong) asking.refuse(model, line.wrong.key, line.wrong.values);
  else if (line.text !== undefined && model.isSigningOut) asking.refuse(model, "offline");
  else if (line.text !== undefined) outbox.post(model, { id, text: line.text }, now);
  else if (line.word === "help") asking.note(model, "help");
  else if (line.word === "nick") rename(model, line.argument, effects, now);
  else if (line.word === "quit") leave(model, effects);
  else if (line.word === "sign-out") signOut(model, effects);
  else asking.command(model, line, effects);
}

function connect(model, effects, now) {
  Object.assign(model, { link: "connecting", until: now + GREETING_MS, decoder: new Decoder(past.CONTENT_BYTES_MAX), sending: null });
  outbox.claim(model, identity.speaker(model));
  model.past.asked = null;
  model.past.got = [];
  effects.push({ type: "connect" });
}

function opened(model, effects, now) {
  if (model.link !== "connecting") return;
  Object.assign(model, { link: "greeting", heard: now, pinged: false, isDoubtful: false });
  // An account is known by the browser's cookie.
  write(effects, { action: "hello", ...(model.account === null ? { as: model.name } : {}), re: "hello" });
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
  // A page cannot read why there is no WebSocket: the cookie may be over.
  if (model.link === "connecting") model.isDoubtful = true;
  // A connection that is accepted and closed at once counts as a failure.
  if (model.link === "live" && now - model.since >= SETTLED_MS) model.failures = 0;
  const full = Math.min(BACKOFF_MS * 2 ** Math.min(model.failures, 6), BACKOFF_MS_MAX);
  model.failures += 1;
  // Jitter down to half, so that not all pages of a restarted server connect at the same time.
  Object.assign(model, { link: "waiting", until: now + full / 2 + (random * full) / 2, decoder: null, sending: null });
}

/** The server refuses finally, or the person leaves. */
function refuse(model, trouble, effects, now) {
  if (trouble.code === "sign-in-needed" && model.former === null) {
    return toDoor(model, effects, { way: "account", name: model.name, why: "signInNeeded" });
  }
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
  if (model.link === "waiting") tryAgain(model, effects, now);
  else if (model.link === "live" && !model.pinged) ping(model, effects, now - SILENCE_MS);
  else if (model.link === "out") effects.push({ type: "ask-session" }, { type: "ask-admission" });
}

function ping(model, effects, heard) {
  Object.assign(model, { heard, pinged: true });
  write(effects, { action: "ping", re: "ping" });
}

function tick(model, effects, now, random) {
  outbox.expire(model, now);
  identity.tick(model, effects, now);
  if (model.link === "waiting" && now >= model.until) tryAgain(model, effects, now);
  else if (["asking", "connecting", "greeting"].includes(model.link) && now >= model.until) hangUp(model, effects, now, random);
  else if (model.link === "live" && model.pinged && now >= model.heard + SILENCE_MS + PONG_MS) hangUp(model, effects, now, random);
  else if (model.link === "live" && !model.pinged && now >= model.heard + SILENCE_MS) ping(model, effects, model.heard);
  if (model.link === "live" && model.until !== null && now >= model.until) past.askEnd(model, effects);
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
  } else if (re === "load") trouble ? asking.refuse(model, "refused", trouble) : past.loaded(model, content);
  else if (re === "end" || re === "page") past.turned(model, re, header, content, trouble, wait, effects, now);
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
    if (re === "hello" && identity.isOther(model, header.text("name"))) doubt(model, null, effects, now, random);
    else if (re === "hello") model.known = header.text("name");
    if (re === "follow") followed(model, message, effects, now);
    return;
  }
  if (trouble.code === "name-set" && model.account === null) {
    // The browser was signed in after this page became a guest.
    doubt(model, null, effects, now, random);
  } else if (outbox.RETRYABLE.includes(trouble.code)) {
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
  } else if (model.account !== null) {
    doubt(model, trouble, effects, now, random);
  } else {
    refuse(model, trouble, effects, now);
  }
}

/** We may be somebody else by now: the server is asked before the next connection. */
function doubt(model, trouble, effects, now, random) {
  Object.assign(model, { isDoubtful: true, trouble });
  hangUp(model, effects, now, random);
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
  if (model.past.low === null) past.askEnd(model, effects);
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
  Object.assign(model, { place: null, items: [], past: past.begin(), unread: 0, mark: null });
}

function live(model, message, effects, now) {
  if (message.header.text("event") === "epoch") {
    // Another process of the server orders as well from here on: by this we are known when we come back.
    if (model.place !== null) model.place.epoch = message.header.text("epoch");
    return;
  }
  if (message.header.text("event") === "closing" && message.header.text("why") === "signed-out") {
    effects.push({ type: "hang-up" });
    asking.lost(model);
    Object.assign(model, { decoder: null, sending: null });
    if (model.isSigningOut) Object.assign(model, { link: "asking", until: now + GREETING_MS, isDoubtful: true });
    else askWho(model, effects, now);
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
  past.trim(model);
}

function scrolled(model, atEnd) {
  model.atEnd = atEnd;
  if (atEnd) model.unread = 0;
  // The mark stays until something new comes after the end was visible, so that the reader finds it.
  if (!atEnd && model.unread === 0) model.mark = null;
  past.trim(model);
}
