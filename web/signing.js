// The requests that sign a browser in and out, and with which somebody accepts an invitation.

import { ask } from "./requests.js";

const SIGN_IN_MS = 60_000; // a busy server checks a password after up to 30 s

/** `{ name, failed }`: the account, and its failed sign-ins since the last one, `{ count, last, from }`, if there were any. */
export const signIn = (asked) => post("/session", asked);

/** The same of an account that is new, or has a new password. */
export const accept = (asked) => post("/session/new", asked);

async function post(path, asked) {
  const given = Object.entries(asked).filter(([, value]) => value);
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(Object.fromEntries(given)) };
  const answer = await ask(path, options, SIGN_IN_MS);
  return answer.trouble ? { trouble: answer.trouble } : { name: answer.body?.name ?? asked.name, failed: answer.body?.failed };
}

/** `{}` when it is done. */
export async function signOut() {
  const { trouble } = await ask("/session/end", { method: "POST" });
  return trouble ? { trouble } : {};
}
