// Own messages: waiting -> removed (acknowledged and its event received), or failed. One at a time is sent, to keep their
// order, each with an id that stays the same however often it is sent.

import { speaker } from "./identity.js";
import { encode } from "./proto.js";

const GIVE_UP_MS = 3_600_000; // after that the outcome of a send is unknown

/** Codes that can be retried later; `Code::is_retryable` in the server. */
export const RETRYABLE = ["busy", "disk-full", "unavailable", "unknown", "clock-ahead", "view-behind", "stopping", "too-many"];

/** As they were before a reload. */
export function restored(unsent, room) {
  return unsent.map((own) => ({ room, ...own, ...(own.state === "failed" ? {} : { state: "waiting", trouble: null }) }));
}

export const isWaiting = (own) => own.state === "waiting";

export function post(model, { id, text }, now) {
  model.pending.push({ id, room: model.room, by: speaker(model), text, state: "waiting", trouble: null, written: now, tried: null, n: null });
}

export function again(model, id) {
  const own = model.pending.find((own) => own.id === id && own.state === "failed");
  if (own) Object.assign(own, { by: speaker(model), state: "waiting", trouble: null, tried: null });
}

/**
 * What was written under another name is not sent under this one. A guest's message stays to be sent on request; an account's is
 * not shown to somebody else.
 */
export function claim(model, who) {
  const isOthers = ({ by }) => by !== who && !by.startsWith("guest:");
  for (const own of model.pending) own.by ??= who;
  model.pending = model.pending.filter((own) => !isOthers(own) && (own.by === who || own.state !== "posted"));
  for (const own of model.pending) if (own.by !== who && isWaiting(own)) fail(model, own, { code: "other-name", detail: null });
}

/** One at a time: the next is sent when the outcome of the previous one is known. */
export function sendNext(model, effects, now) {
  if (model.link !== "live" || model.sending !== null || now < model.notBefore) return;
  const own = model.pending.find(isWaiting);
  if (!own) return;
  model.sending = own.id;
  own.tried ??= now;
  const bytes = encode({ action: "send", room: own.room, id: own.id }, new TextEncoder().encode(own.text));
  effects.push({ type: "write", bytes });
}

export function sent(model, header, trouble, wait, now) {
  const own = model.pending.find((own) => own.id === model.sending);
  model.sending = null;
  if (!own) return;
  if (trouble === null) {
    Object.assign(own, { state: "posted", trouble: null, n: header.number("n") });
    // Its event may have come before the connection was lost; in another room it is not shown.
    if (header.number("seq") <= model.place.seq || own.room !== model.room) forgetOwn(model, own);
  } else if (RETRYABLE.includes(trouble.code)) {
    own.trouble = trouble;
    model.notBefore = now + (wait ?? 1_000);
  } else {
    fail(model, own, trouble);
  }
}

/** After an hour without an answer. */
export function expire(model, now) {
  for (const own of model.pending) if (now >= expiry(own)) fail(model, own, { code: "unknown", detail: null });
}

/** When the outcome of a message counts as unknown. */
export const expiry = (own) => (isWaiting(own) && own.tried ? own.tried + GIVE_UP_MS : Infinity);

export function fail(model, own, trouble) {
  Object.assign(own, { state: "failed", trouble });
  if (model.sending === own.id) model.sending = null;
}

/** The message is among the items: remove it from the pending ones. */
export function settle(model, n) {
  model.pending = model.pending.filter((own) => own.state !== "posted" || own.n !== n || own.room !== model.room);
}

/** Acknowledged messages may be lost: with the same id they are posted if they are, and not doubled if not. */
export function sendAgain(model) {
  for (const own of model.pending) if (own.state === "posted") own.state = "waiting";
}

function forgetOwn(model, gone) {
  model.pending = model.pending.filter((own) => own !== gone);
}
