// Beside the messages: the rooms, and who is in this one.

import { Component } from "./vendor/preact.mjs";
import { read } from "./commands.js";
import { html, Name } from "./parts.js";

export function Side(props) {
  return html`
    <aside id="side" class="side ${props.screen.isSideOpen ? "open" : ""}" aria-label=${props.say("side")}>
      <${Rooms} ...${props} /><${Create} ...${props} /><${People} ...${props} />
    </aside>`;
}

function Rooms({ model, person, say }) {
  const { rooms } = model.around;
  const list = rooms?.list ?? [];
  // A private room that was left is not in the list, and can still be on the screen.
  const shown = list.some(({ room }) => room === model.room) ? list : [...list, { room: model.room }];
  return html`
    <h2>${say("rooms")}</h2>
    <ul class="rooms">${shown.map(({ room, access, topic }) => html`
      <li key=${room}><button type="button" class="quiet" title=${topic ?? ""} aria-current=${room === model.room ? "page" : null} onClick=${() => person.go(room)}>
        <bdi>#${room}</bdi>${access === "private" && html` <small>${say("private")}</small>`}
      </button></li>`)}</ul>`;
}

/** Why this person cannot create rooms; the page never speaks for the operator. null: nothing is in the way. */
export function createHint({ admission, known }) {
  if (admission?.["rooms-by"] === "admins") return "createAdmins";
  return known?.startsWith("guest:") ? "createHint" : null;
}

class Create extends Component {
  create = (event) => {
    event.preventDefault();
    const name = this.field.value.trim();
    if (name && this.props.person.typed(read(`/create ${name}${this.box.checked ? " private" : ""}`))) event.target.reset();
  };

  render({ model, say }) {
    const hint = createHint(model);
    if (hint === "createAdmins") return html`<p class="create hint">${say(hint)}</p>`;
    return html`
      <form class="create" onSubmit=${this.create}>
        <label class="offstage" for="create">${say("createName")}</label>
        <input id="create" ref=${(field) => (this.field = field ?? this.field)} placeholder=${say("createName")} required maxlength="64" autocomplete="off" autocapitalize="none" spellcheck=${false}
          aria-describedby=${hint ? "create-hint" : null} />
        <label class="private"><input type="checkbox" ref=${(box) => (this.box = box ?? this.box)} /> ${say("private")}</label>
        <button type="submit">${say("create")}</button>
        ${hint && html`<p id="create-hint" class="hint">${say(hint)}</p>`}
      </form>`;
  }
}

function People({ model, say }) {
  const { people } = model.around;
  if (!people) return null;
  const here = people.list.filter(({ present }) => present > 0);
  const away = people.list.filter(({ present }) => !(present > 0));
  return html`
    <h2>${say("here", { count: here.length + people.more })}</h2>
    <ul class="people">${here.map((who) => html`<${Person} key=${who.name} who=${who} say=${say} />`)}</ul>
    ${people.more > 0 && html`<p class="hint">${say("peopleMore", { count: people.more })}</p>`}
    ${away.length > 0 && html`<h2>${say("away", { count: away.length })}</h2><ul class="people away">${away.map((who) => html`<${Person} key=${who.name} who=${who} say=${say} />`)}</ul>`}`;
}

const Person = ({ who, say }) => html`
  <li><span class="name"><${Name} from=${who.name} say=${say} /></span>${who.present > 1 && html` <small title=${say("connections", { count: who.present })}>×${who.present}</small>`}</li>`;
