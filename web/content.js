// A message's text on the screen, or why it cannot be read.

import { html, Later } from "./parts.js";

export const isLong = (text = "") => text.length > 5_000 || text.split("\n", 61).length > 60;

/** Is it known only later what it is, by attachment.js? */
export const isLater = ({ why }) => why === "not-text" || why === "other-encoding";

export function Text({ text, none, isFile, say, person }) {
  if (none) return html`<p class="text none">${none}</p>`;
  if (text.trim() === "") return html`<p class="text none">${say("blank")}</p>`;
  const isBox = isFile || isLong(text);
  return html`<p class="text ${isBox ? "long" : ""}" dir="auto" tabindex=${isBox ? 0 : null}>${text.includes("//") ? html`<${Later} part="Linked" meanwhile=${text} ...${{ text, person }} />` : text}</p>`;
}

/** `why` of an item, in words. */
export const unreadable = (item, say, write) => say(item.why, { type: item.type, encoding: item.encoding, size: write.size(item.size) });
