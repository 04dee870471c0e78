// Draws the model; decides nothing. Everything that a person typed is a text node, whatever it looks like.

import { Component, h, render } from "./vendor/preact.mjs";
import htm from "./vendor/htm.mjs";
import { hasOlder } from "./session.js";
import { LANGUAGES, speaker } from "./words.js";
import { writer } from "./write.js";

const html = htm.bind(h);
const TOGETHER_MS = 5 * 60_000; // messages of one person within this time share a heading
const OLDER_PX = 400; // from the top; nearer than this older messages are requested
const END_PX = 40; // from the end; nearer than this it counts as the end
const SPOKEN = 3; // messages read out at once when many come
const HUES = 12; // as many as app.css has

/** Draws the page. */
export function draw(model, screen, person, now) {
  const say = speaker(screen.language);
  const room = `#${model.room}`;
  document.documentElement.lang = screen.language;
  document.title = `${model.unread ? `(${model.unread}) ` : ""}${room} – vang`;
  const props = { model, screen, person, now, say, room, write: writer(regional(screen.language)) };
  render(html`<${model.link === "out" ? Door : Room} ...${props} />`, document.body);
}

/** The reader's regional variant of the page's language, for dates. */
const regional = (language) => navigator.languages.find((tag) => tag.split("-")[0] === language) ?? language;

/** A button for every other language, in that language. */
function Languages({ screen, person }) {
  const others = Object.keys(LANGUAGES).filter((language) => language !== screen.language);
  return others.map((language) => html`
    <button type="button" class="quiet" lang=${language} onClick=${() => person.speak(language)}>${LANGUAGES[language].language}</button>`);
}

// Before entering: choose a name.

class Door extends Component {
  componentDidMount() {
    this.field.focus();
  }

  render({ model, screen, person, say, room }) {
    const enter = (event) => {
      event.preventDefault();
      const name = this.field.value.trim();
      if (name) person.enter(name);
    };
    const refused = model.trouble && say("refused", { detail: model.trouble.detail });
    return html`
      <main class="door">
        <form onSubmit=${enter}>
          <p class="brand"><img src="/icon.svg" alt="" width="40" height="40" /> vang <span class="where">${room}</span></p>
          <h1>${say("chooseTitle")}</h1>
          <label for="name">${say("chooseName")}</label>
          <input id="name" ref=${(field) => (this.field = field ?? this.field)} defaultValue=${model.name ?? ""} required maxlength="64"
            autocomplete="nickname" autocapitalize="none" spellcheck=${false} aria-describedby="name-hint name-refused" aria-invalid=${Boolean(refused)} />
          <p id="name-hint" class="hint">${say("nameHint")}</p>
          <p id="name-refused" class="refused" role="alert">${refused}</p>
          <div class="row"><button type="submit">${say("enter")}</button><${Languages} screen=${screen} person=${person} /></div>
        </form>
      </main>`;
  }
}

// Inside: own name, messages, composer.

function Room(props) {
  return html`<div class="room"><${Bar} ...${props} /><${Notice} ...${props} /><${Log} ...${props} /><${Composer} ...${props} /></div>`;
}

function Bar({ model, screen, person, now, say, room }) {
  const waits = model.pending.some((own) => own.state === "waiting");
  return html`
    <header>
      <h1>${room}</h1>
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
  const detail = model.trouble?.detail;
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

class Log extends Component {
  componentDidMount() {
    // A phone's keyboard or a narrower window must not move the end out of view.
    this.sizes = new ResizeObserver(() => this.settle(null));
    this.sizes.observe(this.list);
    this.settle(null);
  }

  componentWillUnmount() {
    this.sizes.disconnect();
  }

  /** The first visible line keeps its place when lines above it come or go. */
  getSnapshotBeforeUpdate() {
    const top = this.list.scrollTop;
    const line = [...this.list.firstElementChild.children].find((line) => line.dataset.seq && line.offsetTop + line.offsetHeight > top);
    return line && { line, below: line.offsetTop - top };
  }

  componentDidUpdate(_props, _state, held) {
    this.settle(held);
  }

  settle(held) {
    if (this.props.model.atEnd) this.list.scrollTop = this.list.scrollHeight;
    else if (held?.line.isConnected) this.list.scrollTop = held.line.offsetTop - held.below;
    this.reach();
  }

  reach() {
    const { model, person } = this.props;
    if (this.list.scrollTop < OLDER_PX && hasOlder(model) && !model.past.asked) person.older();
  }

  scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    this.props.person.scrolled(scrollHeight - scrollTop - clientHeight < END_PX);
    this.reach();
  };

  render({ model, screen, person, say, room, write }) {
    const spoken = screen.spoken.slice(-SPOKEN);
    screen.spoken = spoken;
    return html`
      <main>
        <div class="log" ref=${(list) => (this.list = list ?? this.list)} onScroll=${this.scrolled} role="log" aria-live="off" aria-label=${say("log", { room })} tabindex="0">
          <ol>
            <li class="aside" key="past"><${Past} ...${{ model, person, say, room }} /></li>
            ${rows(model, say, write)}
            ${model.pending.map((own) => html`<${Own} key=${own.id} ...${{ own, state: own.state, trouble: own.trouble, link: model.link, person, say, write }} />`)}
          </ol>
        </div>
        ${model.unread > 0 && html`<button type="button" class="unread" onClick=${() => person.scrolled(true)}>${say("unread", { count: model.unread })} <span aria-hidden="true">↓</span></button>`}
        <div class="offstage" aria-live="polite">${spoken.map((item) => html`<p key=${item.seq}>${say("said", { from: plain(item.from), text: item.text ?? unreadable(item, say, write) })}</p>`)}</div>
      </main>`;
  }
}

function Past({ model, person, say, room }) {
  if (model.past.low === null) return null;
  if (model.past.asked) return say("olderComing");
  if (hasOlder(model)) return html`<button type="button" class="quiet" onClick=${person.older}>${say("older")}</button>`;
  return model.items.length || model.pending.length ? say("beginning", { room }) : say("empty", { room });
}

/** The items, with separators for days and for the first unread message. */
function rows(model, say, write) {
  const rows = [];
  let before = null;
  for (const item of model.items) {
    const day = item.time && write.dayKey(item.time);
    if (day && day !== before?.day) rows.push(html`<li class="day" key=${`day-${item.seq}`}><span>${write.day(item.time)}</span></li>`);
    const isMark = item.seq === model.mark;
    if (isMark) rows.push(html`<li class="mark" key="mark"><span>${say("mark")}</span></li>`);
    const isTogether = !isMark && item.event === "message" && before?.event === "message" && before.day === day &&
      before.from === item.from && Date.parse(item.time) - before.at < TOGETHER_MS;
    const row = item.event === "message" ? Message : Aside;
    rows.push(html`<${row} key=${item.seq} ...${{ item, isTogether, say, write }} />`);
    // Counted from the heading, so that a long monologue repeats it.
    if (isTogether) before = { ...before };
    else before = { event: item.event, from: item.from, at: Date.parse(item.time), day: day ?? before?.day };
  }
  return rows;
}

/** Drawn again only when its properties change: a new line costs nothing for a thousand old ones. */
class Painted extends Component {
  shouldComponentUpdate(next) {
    return Object.keys(next).some((key) => next[key] !== this.props[key] && key !== "children");
  }
}

class Message extends Painted {
  render({ item, isTogether, say, write }) {
    return html`
      <li class="message ${isTogether ? "together" : ""}" data-seq=${item.seq}>
        <div class="head">
          <span class="name"><${Name} from=${item.from} say=${say} /></span>
          <time datetime=${item.time} title=${`${write.full(item.time)} · ${item.room}#${item.n}`}>${write.time(item.time)}</time>
        </div>
        <${Text} text=${item.text ?? null} none=${item.why && unreadable(item, say, write)} say=${say} />
      </li>`;
  }
}

class Own extends Painted {
  render({ own, state, trouble, link, person, say, write }) {
    const why =
      state === "failed" ? (trouble.code === "unknown" ? say("unknown") : say("failed", trouble))
      : trouble ? say("busy", trouble)
      : say(link === "live" ? "sending" : "kept");
    return html`
      <li class="message own ${state}">
        <${Text} text=${own.text} say=${say} />
        <p class="fate">${why} ${state === "failed" && html`
          <button type="button" class="quiet" onClick=${() => person.again(own.id)}>${say("again")}</button>
          <button type="button" class="quiet" onClick=${() => person.discard(own.id)}>${say("discard")}</button>`}</p>
      </li>`;
  }
}

function Text({ text, none, say }) {
  if (none) return html`<p class="text none">${none}</p>`;
  if (text.trim() === "") return html`<p class="text none">${say("blank")}</p>`;
  const isLong = text.length > 5_000 || text.split("\n", 61).length > 60;
  return html`<p class="text ${isLong ? "long" : ""}" dir="auto" tabindex=${isLong ? 0 : null}>${text}</p>`;
}

class Aside extends Painted {
  render({ item, say, write }) {
    return html`<li class="aside" data-seq=${item.seq} title=${item.time ? write.full(item.time) : null}>${aside(item, say)}</li>`;
  }
}

function aside(item, say) {
  if (item.event === "topic" && !item.topic) return say("topic-removed", { from: plain(item.from) });
  if (item.event !== "hole") return say(item.event, { from: plain(item.from), topic: item.topic });
  const known = ["not-member", "erased", "retention", "damaged"].includes(item.why);
  return say(known ? `hole-${item.why}` : "hole-other", { count: item.to - item.n + 1, why: item.why });
}

const unreadable = (item, say, write) => say(item.why, { type: item.type, encoding: item.encoding, size: write.size(item.size) });

const plain = (from) => from.replace(/^guest:/, "");

/** A guest's name belongs to nobody: the page says so next to it. */
function Name({ from, say }) {
  const isGuest = from.startsWith("guest:");
  return html`<bdi class=${`hue-${hue(from)}`}>${plain(from)}</bdi>${isGuest && html` <small>${say("guest")}</small>`}`;
}

/** FNV-1a: the same colour for a name in every browser. */
function hue(name) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0) % HUES;
}

class Composer extends Component {
  componentDidMount() {
    if (!isTouch()) this.field.focus(); // a touch keyboard would cover the room
  }

  post = (event) => {
    event?.preventDefault();
    const text = this.field.value.replace(/\s+$/, "");
    if (text) {
      this.props.person.scrolled(true);
      this.props.person.post(text);
    }
    this.field.value = "";
    this.field.focus();
  };

  // Not while an input method composes, where Enter ends a syllable. On a touch keyboard Enter starts a new
  // line.
  pressed = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229 && !isTouch()) this.post(event);
  };

  render({ say, room }) {
    return html`
      <form class="composer" onSubmit=${this.post}>
        <label class="offstage" for="text">${say("write", { room })}</label>
        <textarea id="text" rows="1" ref=${(field) => (this.field = field ?? this.field)} onKeyDown=${this.pressed}
          placeholder=${say("write", { room })} aria-describedby="text-hint" enterkeyhint="enter" dir="auto"></textarea>
        <span id="text-hint" class="offstage">${say("writeHint")}</span>
        <button type="submit">${say("send")}</button>
      </form>`;
  }
}

const isTouch = () => matchMedia("(pointer: coarse)").matches;
