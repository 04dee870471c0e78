// Why the browser warned before it showed the page, and what that means for a password.

import { html } from "./parts.js";

/** `guests`: are they admitted? */
export const Certificate = ({ guests, say }) => html`<p>${withFlags(say(guests ? "certificateGuests" : "certificateNobody"))}</p>`;

/** A flag of the command line is not broken into two lines. */
const withFlags = (sentence) => sentence.split(/(--\w+ \w+)/).map((part, i) => (i % 2 ? html`<code>${part}</code>` : part));
