// The form with an account's name and password.

import { Component } from "./vendor/preact.mjs";
import { deviceOf } from "./device.js";
import { Hints, NAME } from "./door.js";
import { html } from "./parts.js";
import { Outcome, Password, Submit } from "./secret.js";

export class SignIn extends Component {
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
    if (name && this.password.value) this.props.person.signIn({ name, password: this.password.value, device: deviceOf(navigator) });
  };

  render(props) {
    const { model, person, say } = props;
    const { signing, trouble, name } = model.door;
    const field = { required: true, readOnly: Boolean(signing), "aria-describedby": "refused hint", "aria-invalid": trouble?.code === "wrong-secret" };
    return html`
      <form onSubmit=${this.signIn}>
        <label for="name">${say("accountName")}</label>
        <input id="name" name="username" ref=${(field) => (this.name = field ?? this.name)} defaultValue=${name} ...${NAME} ...${field} autocomplete="username" />
        <label for="password">${say("password")}</label>
        <${Password} input=${(field) => (this.password = field ?? this.password)} field=${{ ...field, autocomplete: "current-password" }} say=${say} />
        <${Outcome} ...${props} form="signIn" />
        <${Hints} admission=${model.admission} way="account" say=${say} person=${person} />
        <${Submit} ...${props} label="signIn" />
        <button type="button" class="quiet other" onClick=${() => person.way("invitation", this.name.value)} disabled=${Boolean(signing)}>${say("haveInvitation")}</button>
      </form>`;
  }
}
