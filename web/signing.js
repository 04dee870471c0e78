// The requests that sign a browser in and out.

import { ask } from "./requests.js";

const SIGN_IN_MS = 60_000; // a busy server checks a password after up to 30 s

/** `{ name }` of the account. */
export async function signIn(name, password, device) {
  const body = JSON.stringify({ name, password, ...(device ? { device } : {}) });
  const answer = await ask("/session", { method: "POST", headers: { "content-type": "application/json" }, body }, SIGN_IN_MS);
  return answer.trouble ? { trouble: answer.trouble } : { name: answer.body?.name ?? name };
}

/** `{}` when it is done. */
export async function signOut() {
  const { trouble } = await ask("/session/end", { method: "POST" });
  return trouble ? { trouble } : {};
}
