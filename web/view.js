// Draws the model; decides nothing. Everything that a person typed is a text node, whatever it looks like, or the address of
// a link.

import { render } from "./vendor/preact.mjs";
import { topicOf } from "./asking.js";
import { Door, Languages, Waiting } from "./door.js";
import { Link } from "./link.js";
import { Log } from "./log.js";
import { html, Later, Name } from "./parts.js";
import { speaker } from "./words.js";
import { writer } from "./write.js";

/** Draws the page. */
export function draw(model, screen, person, now) {
  const say = speaker(screen.language, screen.words);
  const room = `#${model.room}`;
  document.documentElement.lang = screen.language;
  document.title = `${model.unread ? `(${model.unread}) ` : ""}${room} – vang`;
  const props = { model, screen, person, now, say, room, write: writer(regional(screen.language)) };
  const isSomebody = model.account !== null || model.name !== null;
  render(html`<${model.link === "out" ? Door : isSomebody ? Room : Waiting} ...${props} />`, document.body);
}

/** The reader's regional variant of the page's language, for dates. */
const regional = (language) => navigator.languages.find((tag) => tag.split("-")[0] === language) ?? language;

function Room(props) {
  const { model } = props;
  const hasMessages = model.past.low !== null; // what is beside them comes after them
  const hasMore = hasMessages || props.screen.wantsMore;
  return html`
    <div class="room">
      <${Bar} ...${props} />
      ${hasMessages && html`<${Later} part="Side" ...${props} />`}
      <div class="middle"><${Notice} ...${props} /><${Log} key=${model.room} ...${props} />${model.around.note && html`<${Later} part="Note" ...${props} />`}${hasMore && html`<${Later} part="Composer" ...${props} />`}</div>
    </div>`;
}

function Bar({ model, screen, person, now, say, room }) {
  const waits = model.pending.some((own) => own.state === "waiting");
  const isGuest = model.account === null;
  const topic = topicOf(model);
  return html`
    <header>
      <button type="button" class="quiet sides" aria-expanded=${screen.isSideOpen} aria-controls="side" onClick=${person.toggleSide}><span aria-hidden="true">☰</span> ${say("side")}</button>
      <h1><bdi>${room}</bdi></h1>
      ${topic && html`<p class="topic" title=${topic} dir="auto">${topic}</p>`}
      <${Link} ...${{ model, person, now, say }} />
      <div class="me">
        <span class="name"><${Name} from=${model.known ?? model.account ?? model.name} say=${say} /></span>
        <button type="button" class="quiet" onClick=${isGuest ? person.leave : person.signOut} disabled=${waits || model.isSigningOut} title=${waits ? say("changeNameWaits") : ""}>${say(isGuest ? "changeName" : "signOut")}</button>
        <${Languages} screen=${screen} person=${person} />
      </div>
    </header>`;
}

function Notice({ model, person, say }) {
  return model.notice && html`
    <p class="notice" role="alert">${say(model.notice)} <button type="button" class="quiet" onClick=${person.dismiss}>${say("dismiss")}</button></p>`;
}
