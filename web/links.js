// Links in a text: http and https only. The address that opens is the one that the reader sees.

const LINKS_MAX = 500; // in one message; further ones stay text
// Without control and format characters: they can make an address look like another one.
const ADDRESS = /https?:\/\/[^\s<>"`\p{Cc}\p{Cf}]+/giu;
const ENDS = ".,;:!?'*_~…。，、；：！？）」』】》";
const BRACKETS = { ")": "(", "]": "[", "}": "{" };

/** The text in pieces: strings and links `{ href, text }`. */
export function pieces(text) {
  const found = [];
  let [from, links] = [0, 0];
  for (const { 0: match, index } of text.matchAll(ADDRESS)) {
    if (links === LINKS_MAX) break;
    const shown = withoutEnd(match);
    const href = /[\p{L}\p{N}]$/u.test(text.slice(Math.max(from, index - 2), index)) ? null : addressOf(shown);
    if (href === null) continue;
    if (index > from) found.push(text.slice(from, index));
    found.push({ href, text: shown });
    from = index + shown.length;
    links += 1;
  }
  if (from < text.length) found.push(text.slice(from));
  return found;
}

/** Without what ends the sentence, and without brackets that were opened before the address. */
function withoutEnd(match) {
  const count = (character) => match.split(character).length - 1;
  const surplus = Object.fromEntries(Object.entries(BRACKETS).map(([close, open]) => [close, count(close) - count(open)]));
  let end = match.length;
  for (; end > 0; end -= 1) {
    const last = match[end - 1];
    if (ENDS.includes(last)) continue;
    if (!(surplus[last] > 0)) break;
    surplus[last] -= 1;
  }
  return match.slice(0, end);
}

/** Null: not an address, or one with a user name, which usually pretends to be another host. */
function addressOf(text) {
  try {
    const url = new URL(text);
    const isPlain = ["http:", "https:"].includes(url.protocol) && url.username === "" && url.password === "";
    return isPlain && url.hostname ? url.href : null;
  } catch {
    return null;
  }
}
