// The page's HTTP requests. They send and bring the browser's cookie, which no script can read. None of them fails: what goes
// wrong is in the answer, as `{ trouble: { code, detail, wait } }`, with `wait` in ms.

const ANSWER_MS = 15_000;

/** What the server admits from here; null without an answer. */
export async function admission() {
  return (await ask("/admission")).body ?? null;
}

/** `{ name }`: who this browser is signed in as, or null. */
export async function session() {
  const { body, trouble } = await ask("/session");
  return trouble ? { trouble } : { name: body?.name ?? null };
}

/** `{ body }`, or `{ trouble }`. */
export async function ask(path, options = {}, ms = ANSWER_MS) {
  try {
    const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ms), ...options });
    const text = await answer.text();
    if (answer.ok) return { body: JSON.parse(text) };
    const seconds = Number(answer.headers.get("retry-after") ?? NaN);
    return { trouble: { ...errorIn(text, answer.status), ...(seconds >= 0 ? { wait: seconds * 1_000 } : {}) } };
  } catch {
    return { trouble: { code: "unreachable", detail: null } };
  }
}

/** Of `{"error": {"code", "detail"}}`, or of a line of text. */
function errorIn(text, status) {
  try {
    const { code, detail } = JSON.parse(text).error;
    return { code, detail };
  } catch {
    return { code: `http-${status}`, detail: text.trim().slice(0, 200) || `HTTP ${status}` };
  }
}
