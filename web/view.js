// Draws the model; decides nothing. Everything that a person typed is a text node, whatever it looks like, or the address of
// a link.

import { render } from "./vendor/preact.mjs";
import { topicOf } from "./asking.js";
import { Composer } from "./composer.js";
import { Door, Languages } from "./door.js";
import { Log } from "./log.js";
import { html, Later, Name, reason } from "./parts.js";
import { speaker } from "./words.js";
import { writer } from "./write.js";

/** Draws the page. */
export function draw(model, screen, person, now) {
  const say = speaker(screen.language, screen.words);
  const room = `#${model.room}`;
  document.documentElement.lang = screen.language;
  document.title = `${model.unread ? `(${model.unread}) ` : ""}${room} – vang`;
  const props = { model, screen, person, now, say, room, write: writer(regional(screen.language)) };
  render(html`<${model.link === "out" ? Door : Room} ...${props} />`, document.body);
}

/** The reader's regional variant of the page's language, for dates. */
const regional = (language) => navigator.languages.find((tag) => tag.split("-")[0] === language) ?? language;

function Room(props) {
  const { model } = props;
  const hasMessages = model.past.low !== null; // what is beside them comes after them
  return html`
    <div class="room">
      <${Bar} ...${props} />
      ${hasMessages && html`<${Later} part="Side" ...${props} />`}
      <div class="middle"><${Notice} ...${props} /><${Log} key=${model.room} ...${props} />${model.around.note && html`<${Later} part="Note" ...${props} />`}<${Composer} ...${props} /></div>
    </div>`;
}

function Bar({ model, screen, person, now, say, room }) {
  const waits = model.pending.some((own) => own.state === "waiting");
  const topic = topicOf(model);
  return html`
    <header>
      <button type="button" class="quiet sides" aria-expanded=${screen.isSideOpen} aria-controls="side" onClick=${person.toggleSide}><span aria-hidden="true">☰</span> ${say("side")}</button>
      <h1><bdi>${room}</bdi></h1>
      ${topic && html`<p class="topic" title=${topic} dir="auto">${topic}</p>`}
      <${Link} ...${{ model, person, now, say }} />
      <div class="me">
        <span class="name"><${Name} from=${model.known ?? model.name} say=${say} /></span>
        <button type="button" class="quiet" onClick=${person.leave} disabled=${waits} title=${waits ? say("changeNameWaits") : ""}>${say("changeName")}</button>
        <${Languages} screen=${screen} person=${person} />
      </div>
    </header>`;
}

/** The connection's state as text. A screen reader gets it without the seconds, which change all the time. */
function Link({ model, person, now, say }) {
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

function Notice({ model, person, say }) {
  return model.notice && html`
    <p class="notice" role="alert">${say(model.notice)} <button type="button" class="quiet" onClick=${person.dismiss}>${say("dismiss")}</button></p>`;
}
