// A message of one's own that is not in the log yet, and what becomes of it.

import { Text } from "./content.js";
import { html, Painted, reason } from "./parts.js";

export class Own extends Painted {
  render({ own, state, trouble, link, person, say, write }) {
    const why =
      state === "failed" ? (trouble.code === "unknown" ? say("unknown") : say("failed", { detail: reason(say, trouble) }))
      : trouble ? say("busy", { detail: reason(say, trouble) })
      : say(link === "live" ? "sending" : "kept");
    return html`
      <li class="message own ${state}">
        <${Text} text=${own.text} say=${say} person=${person} />
        <p class="fate">${why} ${state === "failed" && html`
          <button type="button" class="quiet" onClick=${() => person.again(own.id)}>${say("again")}</button>
          <button type="button" class="quiet" onClick=${() => person.discard(own.id)}>${say("discard")}</button>`}</p>
      </li>`;
  }
}
