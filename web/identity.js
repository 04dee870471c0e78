// Who a person is here: a guest with a typed name, or the account that this browser is signed in as. And the start view, where
// one of the two is chosen, or an invitation is accepted. No password and no code is in the model.

const BUSY_MS = 5_000; // until the next try, if the server does not say it

/** The start view. */
export function begin() {
  return {
    way: null, // guest | account | invitation, as chosen; null: what the server admits
    name: "", // that the form begins with
    why: null, // signedOut | noCookie | signInNeeded: why this view is shown; outdated: a part of it does not come
    signing: null, // { type, until }: a sign-in is under way, or waits until then; type: sign-in | accept
    trouble: null, // { code, detail }: why signing in failed
    hasCode: false, // the link of an invitation was opened; app.js has its code
    current: null, // the account that this browser is signed in as, while an invitation is shown
  };
}

/** How one can come in: guests only where the server admits them. */
export const ways = ({ admission }) => (admission && !admission.guests ? ["account"] : ["guest", "account"]);

/** The way whose form is shown. */
export function wayOf(model) {
  if (model.door.way === "invitation") return "invitation";
  const offered = ways(model);
  return offered.includes(model.door.way) ? model.door.way : offered[0];
}

/** The sentence about why the start view is shown: `{ key, values }`, or null. */
export function whyOf({ door, admission }) {
  // Where no guest is admitted, every name needs a password, and the view says so anyway.
  if (door.why === null || (door.why === "signInNeeded" && !admission?.guests)) return null;
  return { key: door.why, values: { name: door.name } };
}

/** Under whose name messages are posted. */
export const speaker = ({ account, name }) => account ?? `guest:${name}`;

/** Does the server know us as somebody else than we think? */
export const isOther = ({ account }, known) => (account === null ? !known?.startsWith("guest:") : known !== account);

export function choose(model, way, name) {
  Object.assign(model, { trouble: null, door: { ...begin(), way, name, hasCode: model.door.hasCode } });
}

/** The start view of somebody who opened a link. */
export function invited({ account, name, door }) {
  return { ...begin(), way: "invitation", name: name ?? door.name, hasCode: true, current: account ?? door.current };
}

/** With a password, or by an invitation; the rest of what is asked has app.js. */
export function signIn(model, type, name, effects) {
  if (model.link !== "out" || model.door.signing) return;
  Object.assign(model, { trouble: null, door: { ...model.door, name, why: null, trouble: null, signing: { type, until: null } } });
  effects.push({ type });
}

/** A server that is busy is asked again, when it says; anything else is the person's turn. */
export function refused(model, trouble, now) {
  const { signing } = model.door;
  if (!signing) return;
  if (trouble.code === "busy") signing.until = now + (trouble.wait ?? BUSY_MS);
  else Object.assign(model.door, { signing: null, trouble });
  // Then another code is asked for.
  if (trouble.code === "no-invitation") model.door.hasCode = false;
}

export function tick(model, effects, now) {
  const { signing } = model.door;
  if (!signing || signing.until === null || now < signing.until) return;
  signing.until = null;
  effects.push({ type: signing.type });
}

/** Ends the wait. What the server was asked it answers. */
export function cancel(model) {
  if (model.door.signing?.until) model.door.signing = null;
}
