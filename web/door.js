// Before entering: what this visitor can do, and the ways in: a name as a guest, an account with its password, or an invitation.

import { Component } from "./vendor/preact.mjs";
import { LANGUAGES } from "./words.js";
import { wayOf, ways, whyOf } from "./identity.js";
import { Link } from "./link.js";
import { html, Later, reason } from "./parts.js";

const ICON = new URL("icon.svg", import.meta.url).href;

/** A button for every other language, in that language. */
export function Languages({ screen, person }) {
  const others = Object.keys(LANGUAGES).filter((language) => language !== screen.language);
  return others.map((language) => html`
    <button type="button" class="quiet" lang=${language} onClick=${() => person.speak(language)}>${LANGUAGES[language]}</button>`);
}

const Brand = ({ room }) => html`<p class="brand"><img src=${ICON} alt="" width="40" height="40" /> vang <span class="where">${room}</span></p>`;

/** Until the server says who this browser is signed in as. */
export const Waiting = (props) => html`
  <main class="door"><div class="card"><${Brand} room=${props.room} /><${Link} ...${props} /></div></main>`;

export function Door(props) {
  const { model, person, say } = props;
  const [way, why] = [wayOf(model), whyOf(model)];
  // What is typed as one name is offered as the other.
  const choose = (event) => person.way(event.currentTarget.value, document.querySelector("#name")?.value ?? "");
  return html`
    <main class="door">
      <div class="card">
        <${Brand} room=${props.room} />
        ${way !== "invitation" && html`<h1>${say("chooseTitle")}</h1>`}
        <p class="why" role="status">${why && say(why.key, why.values)}</p>
        ${way !== "invitation" && ways(model).length > 1 && html`
          <div class="ways" role="group" aria-label=${say("ways")}>${ways(model).map((one) => html`
            <button type="button" key=${one} value=${one} aria-pressed=${one === way} onClick=${choose} disabled=${Boolean(model.door.signing)}>${say(`way-${one}`)}</button>`)}
          </div>`}
        ${way === "guest" ? html`<${Guest} ...${props} />` : html`<${Later} key=${way} part=${way === "account" ? "SignIn" : "Accept"} ...${props} />`}
      </div>
    </main>`;
}

export const NAME = { required: true, maxlength: 64, autocapitalize: "none", spellcheck: false };

export function Hints({ admission, way, say, person }) {
  return html`
    <div id="hint" class="hint">
      ${can(admission, way).map((key) => html`<p key=${key}>${say(key)}</p>`)}
      ${admission?.["own-certificate"] && !admission.local && html`<${Later} part="Certificate" guests=${admission.guests} say=${say} person=${person} />`}
    </div>`;
}

class Guest extends Component {
  componentDidMount() {
    this.field.focus();
  }

  enter = (event) => {
    event.preventDefault();
    const name = this.field.value.trim();
    if (name) this.props.person.enter(name);
  };

  render({ model, screen, person, say }) {
    const refused = model.trouble && say("refused", { detail: reason(say, model.trouble) });
    return html`
      <form onSubmit=${this.enter}>
        <label for="name">${say("chooseName")}</label>
        <input id="name" ref=${(field) => (this.field = field ?? this.field)} defaultValue=${model.name ?? model.door.name} ...${NAME} autocomplete="nickname"
          aria-describedby="hint refused" aria-invalid=${Boolean(refused)} />
        <p id="refused" class="refused" role="alert">${refused}</p>
        <${Hints} admission=${model.admission} way="guest" say=${say} person=${person} />
        <div class="row"><button type="submit">${say("enter")}</button><${Languages} screen=${screen} person=${person} /></div>
      </form>`;
  }
}

/** The sentences about what this visitor can do; before the server has answered, the usual one. */
export function can(admission, way) {
  if (way === "invitation") return [];
  if (!admission) return [way === "guest" ? "nameHint" : "accountHint"];
  const { local, guests } = admission;
  const who = way === "guest" ? ["canGuest"] : guests ? ["accountHint"] : ["canAccount", "accountHint"];
  return [local ? "fromHere" : "fromElsewhere", ...who];
}
