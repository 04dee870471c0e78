// The form with an account's name and password.

import { Component } from "./vendor/preact.mjs";
import { deviceOf } from "./device.js";
import { Hints, Languages, NAME } from "./door.js";
import { html, reason } from "./parts.js";

export class SignIn extends Component {
  state = { isShown: false };

  componentDidMount() {
    (this.name.value ? this.password : this.name).focus();
  }

  /** A wrong password is typed again. */
  componentDidUpdate() {
    const { trouble } = this.props.model.door;
    if (trouble && trouble !== this.trouble) this.password.select();
    this.trouble = trouble;
  }

  signIn = (event) => {
    event.preventDefault();
    const name = this.name.value.trim();
    if (name && this.password.value) this.props.person.signIn(name, this.password.value, deviceOf(navigator));
  };

  render({ model, screen, person, now, say }, { isShown }) {
    const { signing, trouble, name } = model.door;
    const refused = trouble && refusal(say, trouble);
    const wait = signing?.until ? Math.max(1, Math.ceil((signing.until - now) / 1_000)) : null;
    const field = { required: true, readOnly: Boolean(signing), "aria-describedby": "refused hint", "aria-invalid": trouble?.code === "wrong-secret" };
    return html`
      <form onSubmit=${this.signIn}>
        <label for="name">${say("accountName")}</label>
        <input id="name" name="username" ref=${(field) => (this.name = field ?? this.name)} defaultValue=${name} ...${NAME} ...${field} autocomplete="username" />
        <label for="password">${say("password")}</label>
        <div class="secret">
          <input id="password" name="password" type=${isShown ? "text" : "password"} ref=${(field) => (this.password = field ?? this.password)} ...${field}
            autocomplete="current-password" autocapitalize="none" spellcheck=${false} />
          <button type="button" class="quiet" aria-pressed=${isShown} aria-label=${say("showPassword")} onClick=${() => this.setState({ isShown: !isShown })}>${say(isShown ? "hide" : "show")}</button>
        </div>
        <p id="refused" class="refused" role="alert">${refused}</p>
        ${wait !== null && html`<p class="waits" aria-hidden="true">${say("signInBusy", { seconds: wait })}</p>`}
        <p class="offstage" role="status">${wait !== null ? say("signInWaits") : signing ? say("signingIn") : ""}</p>
        <${Hints} admission=${model.admission} way="account" say=${say} />
        <div class="row">
          <button type="submit" aria-disabled=${Boolean(signing)}>${say(signing ? "signingIn" : "signIn")}</button>
          ${wait === null ? html`<${Languages} screen=${screen} person=${person} />` : html`<button type="button" class="quiet" onClick=${person.cancelSignIn}>${say("cancel")}</button>`}
        </div>
      </form>`;
  }
}

/** Why signing in failed, and what to do. */
const refusal = (say, trouble) => (say.has(`signIn-${trouble.code}`) ? say(`signIn-${trouble.code}`) : say("refused", { detail: reason(say, trouble) }));
