// The state of the connection, as text.

import { html, reason } from "./parts.js";

/** A screen reader gets it without the seconds, which change all the time. */
export function Link({ model, person, now, say }) {
  const isWaiting = model.link === "waiting";
  const seconds = isWaiting ? Math.max(1, Math.ceil((model.until - now) / 1_000)) : 0;
  const detail = model.trouble && reason(say, model.trouble);
  const words = isWaiting ? say(detail ? "waitingWhy" : "waiting", { seconds, detail }) : say(model.link === "live" ? "live" : "connecting");
  return html`
    <div class="link ${model.link}">
      <span class="dot" aria-hidden="true"></span>
      <span class="words">${words}</span>
      ${isWaiting && html`<button type="button" class="quiet" onClick=${person.now}>${say("now")}</button>`}
      <span class="offstage" role="status">${isWaiting ? say("lost") : words}</span>
    </div>`;
}
