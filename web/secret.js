// What the forms with a password share: the field, why the server refused, a wait while it is busy, and the last row.

import { Component } from "./vendor/preact.mjs";
import { Languages } from "./door.js";
import { html, reason } from "./parts.js";

/** A password that can be shown. `input` gets the field, `field` is what else it is. */
export class Password extends Component {
  state = { isShown: false };

  render({ input, field, say }, { isShown }) {
    return html`
      <div class="secret">
        <input id="password" name="password" type=${isShown ? "text" : "password"} ref=${input} ...${field} autocapitalize="none" spellcheck=${false} />
        <button type="button" class="quiet" aria-pressed=${isShown} aria-label=${say("showPassword")} onClick=${() => this.setState({ isShown: !isShown })}>${say(isShown ? "hide" : "show")}</button>
      </div>`;
  }
}

const waitOf = ({ door: { signing } }, now) => (signing?.until ? Math.max(1, Math.ceil((signing.until - now) / 1_000)) : null);

/** Why it was refused, with the words of this form, and what to do; or that it waits. */
export function Outcome({ model, now, say, form }) {
  const { signing, trouble } = model.door;
  const wait = waitOf(model, now);
  const own = `${form}-${trouble?.code}`;
  return html`
    <p id="refused" class="refused" role="alert">${trouble && (say.has(own) ? say(own) : say("refused", { detail: reason(say, trouble) }))}</p>
    ${wait !== null && html`<p class="waits" aria-hidden="true">${say("signInBusy", { seconds: wait })}</p>`}
    <p class="offstage" role="status">${wait !== null ? say("signInWaits") : signing ? say("signingIn") : ""}</p>`;
}

/** The button of the form, and beside it the languages, or a way out of the wait. */
export function Submit({ model, screen, person, now, say, label }) {
  const { signing } = model.door;
  return html`
    <div class="row">
      <button type="submit" aria-disabled=${Boolean(signing)}>${say(signing ? "signingIn" : label)}</button>
      ${waitOf(model, now) === null ? html`<${Languages} screen=${screen} person=${person} />` : html`<button type="button" class="quiet" onClick=${person.cancelSignIn}>${say("cancel")}</button>`}
    </div>`;
}
