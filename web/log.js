// The messages of a room, and what happened between them.

import { Component } from "./vendor/preact.mjs";
import { hasOlder } from "./past.js";
import { html, Later, Name, Painted, plain } from "./parts.js";
import { isLater, isLong, Text, unreadable } from "./content.js";

const TOGETHER_MS = 5 * 60_000; // messages of one person within this time share a heading
const OLDER_PX = 400; // from the top; nearer than this older messages are requested
const END_PX = 40; // from the end; nearer than this it counts as the end
const SPOKEN = 3; // messages read out at once when many come
const SPOKEN_LENGTH = 2_000; // characters of one of them

export class Log extends Component {
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
            ${rows(model, say, write, person)}
            ${model.pending.filter((own) => own.room === model.room).map((own) => html`<${Later} part="Own" key=${own.id} ...${{ own, state: own.state, trouble: own.trouble, link: model.link, person, say, write }} />`)}
          </ol>
        </div>
        ${model.unread > 0 && html`<button type="button" class="unread" onClick=${() => person.scrolled(true)}>${say("unread", { count: model.unread })} <span aria-hidden="true">↓</span></button>`}
        <div class="offstage" aria-live="polite">${spoken.map((item) => html`<p key=${item.seq}>${say("said", { from: plain(item.from), text: spokenText(item, say, write) })}</p>`)}</div>
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
function rows(model, say, write, person) {
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
    rows.push(html`<${row} key=${item.seq} ...${{ item, isTogether, say, write, person }} />`);
    // Counted from the heading, so that a long monologue repeats it.
    if (isTogether) before = { ...before };
    else before = { event: item.event, from: item.from, at: Date.parse(item.time), day: day ?? before?.day };
  }
  return rows;
}

class Message extends Painted {
  render({ item, isTogether, say, write, person }) {
    return html`
      <li class="message ${isTogether ? "together" : ""}" data-seq=${item.seq}>
        <div class="head">
          <span class="name"><${Name} from=${item.from} say=${say} /></span>
          <time datetime=${item.time} title=${`${write.full(item.time)} · ${item.room}#${item.n}`}>${write.time(item.time)}</time>
        </div>
        <${Content} ...${{ item, say, write, person }} />
      </li>`;
  }
}

/** The message's content. What is more than a plain text has a second part, which is loaded when it is needed. */
function Content({ item, say, write, person }) {
  if (item.isReleased) {
    return html`<p class="file"><span>${item.type}, ${write.size(item.size)}</span> <button type="button" class="quiet" onClick=${() => person.load(item.n)}>${say("load")}</button></p>`;
  }
  const isFile = Boolean(item.bytes) || isLong(item.text);
  return html`
    ${!isLater(item) && html`<${Text} text=${item.text ?? null} none=${item.why && unreadable(item, say, write)} isFile=${isFile} say=${say} person=${person} />`}
    ${isFile && html`<${Later} part="Attachment" ...${{ item, say, write, person }} />`}`;
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

/** What is read out of a message: a file's text can be long. */
const spokenText = (item, say, write) => (item.text === undefined ? unreadable(item, say, write) : item.text.slice(0, SPOKEN_LENGTH));
