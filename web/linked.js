// A text whose addresses are links.

import { html } from "./parts.js";
import { pieces } from "./links.js";

export const Linked = ({ text }) => pieces(text).map((piece) => (typeof piece === "string" ? piece
  : html`<a href=${piece.href} title=${piece.href} target="_blank" rel="noopener noreferrer">${piece.text}</a>`));
