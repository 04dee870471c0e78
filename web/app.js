// The page's I/O: connects the state machine in session.js with a socket, a clock, the browser's storage and
// the screen.
//
//     person, socket, clock ──▶ update(model, input) ──▶ effects: connect, write, hang-up, say
//                                      └──▶ draw(model)

import { begin, deadline, update } from "./session.js";
import { socket } from "./socket.js";
import { store } from "./store.js";
import { draw } from "./view.js";
import { choose } from "./words.js";

const ROOM = "general";

const model = begin(ROOM, store.unsent());
const screen = { language: store.language() ?? choose(navigator.languages), spoken: [] };
const wire = socket(input);
const perform = {
  connect: () => wire.connect(),
  write: ({ bytes }) => wire.write(bytes),
  "hang-up": () => wire.hangUp(),
  say: ({ item }) => screen.spoken.push(item),
};

function input(what) {
  for (const effect of update(model, what, Date.now(), Math.random())) perform[effect.type](effect);
  store.keepUnsent(model.pending);
  wake();
  drawSoon();
}

let timer = null;
function wake() {
  clearTimeout(timer);
  const due = deadline(model);
  // At most what timers can count; an early wake-up does nothing.
  if (due !== null) timer = setTimeout(() => input({ type: "tick" }), Math.min(Math.max(due - Date.now(), 0) + 1, 1e9));
}

const person = {
  enter(name) {
    store.keepName(name);
    input({ type: "enter", name });
  },
  leave() {
    store.keepName(null);
    input({ type: "leave" });
  },
  post: (text) => input({ type: "post", id: freshId(), text }),
  again: (id) => input({ type: "again", id }),
  discard: (id) => input({ type: "discard", id }),
  older: () => input({ type: "older" }),
  scrolled: (atEnd) => atEnd !== model.atEnd && input({ type: "scrolled", atEnd }),
  now: () => input({ type: "nudge" }),
  dismiss: () => input({ type: "dismiss" }),
  speak(language) {
    store.keepLanguage(language);
    screen.language = language;
    drawSoon();
  },
};

/** Not `crypto.randomUUID`, which browsers do not offer to pages from other machines over plain HTTP. */
function freshId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// One repaint for all input of one turn: before the next frame if there are frames.
let isDue = false;
function drawSoon() {
  if (isDue) return;
  isDue = true;
  const paint = () => {
    if (!isDue) return;
    isDue = false;
    draw(model, screen, person, Date.now());
  };
  requestAnimationFrame(paint);
  if (document.hidden) setTimeout(paint, 100);
}

// The page shows the remaining seconds of a wait.
setInterval(() => model.link === "waiting" && drawSoon(), 1_000);
addEventListener("online", () => input({ type: "nudge" }));
document.addEventListener("visibilitychange", () => !document.hidden && input({ type: "nudge" }));

const name = store.name();
if (name) person.enter(name);
else drawSoon();
