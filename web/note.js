// The answer to a command, above the field where it was typed.

import { COMMANDS } from "./commands.js";
import { html, Name, plain, reason } from "./parts.js";

export function Note({ model, person, say, write }) {
  const { note } = model.around;
  if (!note) return null;
  const { key, values, isRefused, at } = note;
  const time = at && write.full(at);
  const words = say(key, key === "refused" ? { detail: reason(say, values) } : { count: 0, time, ...values });
  return html`
    <div class="note ${isRefused ? "bad" : ""}" role=${isRefused ? "alert" : "status"}>
      <div class="body"><p>${words}</p>${listed(note, say, person)}</div>
      <button type="button" class="quiet" aria-label=${say("close")} title=${say("close")} onClick=${person.closeNote}>✕</button>
    </div>`;
}

function listed({ key, people, rooms, hits }, say, person) {
  if (key === "help") {
    return html`<dl class="commands">${Object.entries(COMMANDS).map(([word, { form }]) => html`<div key=${word}><dt><code>${form}</code></dt><dd>${say(`do-${word}`)}</dd></div>`)}</dl>`;
  }
  if (people) return html`<p>${people.list.map(({ name }, i) => html`${i > 0 && ", "}<${Name} from=${name} say=${say} />`)}${people.more > 0 && ` ${say("peopleMore", { count: people.more })}`}</p>`;
  if (rooms) return html`<p>${rooms.list.map(({ room }) => html`<button type="button" class="quiet" key=${room} onClick=${() => person.go(room)}>#${room}</button> `)}</p>`;
  if (hits) return html`<ul>${hits.list.map((hit) => html`<li key=${hit.address}><b>${plain(hit.from)}</b> <small>${hit.address}</small> ${hit.text ?? hit["content-type"]}</li>`)}</ul>`;
  return null;
}
