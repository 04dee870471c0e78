// The form of somebody who was invited: with the link or the code of an invitation, a name and a new password make an account.
// With the link of an account that exists, the password alone.

import { Component } from "./vendor/preact.mjs";
import { deviceOf } from "./device.js";
import { Hints, NAME } from "./door.js";
import { invitationIn } from "./invitation.js";
import { html } from "./parts.js";
import { Outcome, Password, Submit } from "./secret.js";

const OF_CODE = ["no-invitation"];
const OF_NAME = ["name-needed", "name-taken", "name-confusable", "bad-name"];
const OF_PASSWORD = ["weak-password"];

/** Who is signed in here is asked first. */
export class Accept extends Component {
  state = { isUsed: false };

  render(props, { isUsed }) {
    const use = () => this.setState({ isUsed: true });
    return props.model.door.current && !isUsed ? html`<${Ask} ...${props} use=${use} />` : html`<${Form} ...${props} />`;
  }
}

function Ask({ model, person, say, use }) {
  const { current } = model.door;
  return html`
    <h1>${say("invitedTitle")}</h1>
    <p>${say("invitedAs", { name: current })}</p>
    <p class="hint">${say("invitedLeaves", { name: current })}</p>
    <div class="choice">
      <button type="button" onClick=${person.stay}>${say("stay", { name: current })}</button>
      <button type="button" class="quiet" onClick=${use}>${say("useInvitation")}</button>
    </div>`;
}

/** `{ code, name }` of the link that was opened; null without one. */
const linkOf = ({ model, person }) => (model.door.hasCode ? invitationIn(person.link()) : null);

class Form extends Component {
  fields = {};

  componentDidMount() {
    const { code, name, password } = this.fields;
    (code ?? (name.value ? password : name)).focus();
  }

  /** What was refused is typed again. */
  componentDidUpdate() {
    const { trouble } = this.props.model.door;
    const { code, name, password } = this.fields;
    if (trouble && trouble !== this.trouble) {
      const field = OF_CODE.includes(trouble.code) ? code : OF_NAME.includes(trouble.code) ? name : password;
      field?.focus();
      field?.select();
    }
    this.trouble = trouble;
  }

  accept = (event) => {
    event.preventDefault();
    const { code, name, password } = this.fields;
    const found = code ? invitationIn(code.value) : linkOf(this.props);
    const chosen = this.owner ? "" : name.value.trim();
    if (!found || (!this.owner && !chosen) || !password.value) return;
    this.props.person.signIn({ code: found.code, name: chosen, password: password.value, device: deviceOf(navigator) });
  };

  render(props) {
    const { model, person, say } = props;
    const { signing, trouble, name, current } = model.door;
    const link = linkOf(props);
    // The account that the link names, unless the server has said that it is for a new one.
    this.isNew ||= trouble?.code === "name-needed";
    const owner = (this.owner = this.isNew ? null : (link?.name ?? null));
    const place = (id) => (field) => (this.fields[id] = field);
    const field = (codes, about = "") => ({ required: true, readOnly: Boolean(signing), "aria-describedby": `${about} refused hint`, "aria-invalid": codes.includes(trouble?.code) });
    const leave = () => person.way(null, this.fields.name.value);
    return html`
      <h1>${say(owner ? "invitedOwner" : "invitedTitle")}</h1>
      ${current && html`<p class="hint">${say("invitedLeaves", { name: current })}</p>`}
      <form onSubmit=${this.accept}>
        ${!link && html`
          <label for="code">${say("invitation")}</label>
          <input id="code" ref=${place("code")} ...${field(OF_CODE)} maxlength="2048" autocomplete="off" autocapitalize="none" spellcheck=${false} />`}
        <label for="name">${say(owner ? "accountName" : "chooseName")}</label>
        <input id="name" name="username" key=${owner ?? ""} ref=${place("name")} defaultValue=${owner ?? name} ...${NAME} ...${field(OF_NAME, "whose")} ...${owner ? { readOnly: true } : {}} autocomplete="username" />
        ${!link && html`<p id="whose" class="hint">${say("ownerHint")}</p>`}
        <label for="password">${say("newPassword")}</label>
        <${Password} input=${place("password")} field=${{ ...field(OF_PASSWORD, "how"), autocomplete: "new-password" }} say=${say} />
        <p id="how" class="hint">${say("passwordHint")}</p>
        <${Outcome} ...${props} form="accept" />
        <${Hints} admission=${model.admission} way="invitation" say=${say} person=${person} />
        <${Submit} ...${props} label="acceptInvitation" />
        <button type="button" class="quiet other" onClick=${leave} disabled=${Boolean(signing)}>${say("otherWay")}</button>
      </form>`;
  }
}
