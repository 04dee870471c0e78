// Who a person is here: a guest with a typed name, or the account that this browser is signed in as. And the start view, where
// one of the two is chosen. No password is in the model.

const BUSY_MS = 5_000; // until the next try, if the server does not say it

/** The start view. */
export function begin() {
  return {
    way: null, // guest | account, as chosen; null: what the server admits
    name: "", // that the form begins with
    why: null, // signedOut | noCookie | signInNeeded: why this view is shown; outdated: a part of it does not come
    signing: null, // { name, until }: a sign-in is under way, or waits until then
    trouble: null, // { code, detail }: why signing in failed
  };
}

/** How one can come in: guests only where the server admits them. */
export const ways = ({ admission }) => (admission && !admission.guests ? ["account"] : ["guest", "account"]);

/** The way whose form is shown. */
export function wayOf(model) {
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
  Object.assign(model, { trouble: null, door: { ...begin(), way, name } });
}

export function signIn(model, name, effects) {
  if (model.link !== "out" || model.door.signing) return;
  Object.assign(model, { trouble: null, door: { ...begin(), way: "account", name, signing: { name, until: null } } });
  effects.push({ type: "sign-in", name });
}

/** A server that is busy is asked again, when it says; anything else is the person's turn. */
export function refused(model, trouble, now) {
  const { signing } = model.door;
  if (!signing) return;
  if (trouble.code === "busy") signing.until = now + (trouble.wait ?? BUSY_MS);
  else Object.assign(model.door, { signing: null, trouble });
}

export function tick(model, effects, now) {
  const { signing } = model.door;
  if (!signing || signing.until === null || now < signing.until) return;
  signing.until = null;
  effects.push({ type: "sign-in", name: signing.name });
}

/** Ends the wait. What the server was asked it answers. */
export function cancel(model) {
  if (model.door.signing?.until) model.door.signing = null;
}
