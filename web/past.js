// Earlier messages, a page at a time: the newest page first. `past.asked` is { since, upto }: numbers since < n <= upto are
// requested. They join the items only when all have come, so that a lost connection leaves no gap.

import * as asking from "./asking.js";
import { isNumbered, itemOf, keep } from "./items.js";
import * as outbox from "./outbox.js";
import { Decoder, encode } from "./proto.js";

export const CONTENT_BYTES_MAX = 64 << 20; // only against garbage: the server is our own
const PAGE = 100; // messages per request
const ITEMS_KEPT = 1_000; // on the screen while the newest are read
const ITEMS_MAX = 20_000; // while older ones are read
const AGAIN_MS = 15_000; // until the newest page is requested again, if the server does not say it

/** The initial state. */
export function begin() {
  return { low: null, asked: null, got: [] }; // n of the oldest item; the requested page
}

/** Is there anything before the oldest item? */
export function hasOlder(model) {
  return model.past.low !== null && model.past.low > 1;
}

export function askEnd(model, effects) {
  model.until = null;
  write(effects, { action: "history", room: model.room, limit: 1, re: "end" });
}

export function older(model, effects) {
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

export function turned(model, re, header, content, trouble, wait, effects, now) {
  const { past } = model;
  if (trouble) {
    past.asked = null; // older ones are requested by the next scroll, the newest page by the next tick
    if (past.low === null) model.until = now + (wait ?? AGAIN_MS);
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
export function load(model, n, effects) {
  if (model.link === "live") write(effects, { action: "history", room: model.room, since: n - 1, limit: 1, re: "load" });
}

export function loaded(model, content) {
  const pages = new Decoder(CONTENT_BYTES_MAX);
  pages.feed(content);
  const message = pages.poll();
  const item = message && itemOf(message);
  const at = model.items.findIndex((known) => item?.bytes && known.event === "message" && known.n === item.n && known.isReleased);
  if (at === -1) return;
  model.items[at] = item;
}

export function trim(model) {
  const max = model.atEnd ? 1.5 * ITEMS_KEPT : ITEMS_MAX;
  // Not while a page of older ones is requested, which must join the oldest item.
  if (model.items.length <= max || model.past.asked || model.past.low === null) return;
  const kept = model.items.slice(-(model.atEnd ? ITEMS_KEPT : ITEMS_MAX / 2));
  const first = kept.find(isNumbered);
  if (!first) return;
  model.items = kept;
  model.past.low = first.n;
}

function write(effects, keys) {
  effects.push({ type: "write", bytes: encode(keys) });
}
