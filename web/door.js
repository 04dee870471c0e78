// Before entering: what this visitor can do, and the choice of a name.

import { Component } from "./vendor/preact.mjs";
import { LANGUAGES } from "./words.js";
import { html, reason } from "./parts.js";

const ICON = new URL("icon.svg", import.meta.url).href;

/** A button for every other language, in that language. */
export function Languages({ screen, person }) {
  const others = Object.keys(LANGUAGES).filter((language) => language !== screen.language);
  return others.map((language) => html`
    <button type="button" class="quiet" lang=${language} onClick=${() => person.speak(language)}>${LANGUAGES[language]}</button>`);
}

export class Door extends Component {
  componentDidMount() {
    this.field?.focus();
  }

  render({ model, screen, person, say, room }) {
    const enter = (event) => {
      event.preventDefault();
      const name = this.field.value.trim();
      if (name) person.enter(name);
    };
    const { admission } = model;
    const isOpen = !admission || admission.guests || admission.accounts;
    const refused = model.trouble && say("refused", { detail: reason(say, model.trouble) });
    return html`
      <main class="door">
        <form onSubmit=${enter}>
          <p class="brand"><img src=${ICON} alt="" width="40" height="40" /> vang <span class="where">${room}</span></p>
          <h1>${say(isOpen ? "chooseTitle" : "closedTitle")}</h1>
          ${isOpen && html`
            <label for="name">${say("chooseName")}</label>
            <input id="name" ref=${(field) => (this.field = field ?? this.field)} defaultValue=${model.name ?? ""} required maxlength="64"
              autocomplete="nickname" autocapitalize="none" spellcheck=${false} aria-describedby="name-hint name-refused" aria-invalid=${Boolean(refused)} />`}
          <div id="name-hint" class="hint">${can(admission).map((key) => html`<p key=${key}>${withFlags(say(key))}</p>`)}</div>
          <p id="name-refused" class="refused" role="alert">${refused}</p>
          <div class="row">
            ${isOpen ? html`<button type="submit">${say("enter")}</button>` : html`<button type="button" onClick=${person.askAdmission}>${say("askAgain")}</button>`}
            <${Languages} screen=${screen} person=${person} />
          </div>
        </form>
      </main>`;
  }
}

/** A flag of the command line is not broken into two lines. */
const withFlags = (sentence) => sentence.split(/(--\w+ \w+)/).map((part, i) => (i % 2 ? html`<code>${part}</code>` : part));

/** The sentences about what this visitor can do; before the server has answered, the usual one. */
export function can(admission) {
  if (!admission) return ["nameHint"];
  const { local, guests, accounts, "own-certificate": isWarned } = admission;
  const who = guests ? (accounts ? "canBoth" : "canGuest") : accounts ? "canAccount" : "canNothing";
  const warning = !local && isWarned ? [guests ? "certificateGuests" : "certificateNobody"] : [];
  return [local ? "fromHere" : "fromElsewhere", who, ...warning];
}
