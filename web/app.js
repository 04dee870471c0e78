// The page's edge: the machine in session.js between a socket, a clock, the browser's storage and the screen.
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
  // Not longer than timers can count; waking too early does nothing.
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

/** Not `crypto.randomUUID`, which browsers keep from pages that came over plain HTTP from another machine. */
function freshId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// One painting for all that came in one turn: before the next frame where there are frames.
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

// While a wait is shown in seconds, they are counted down.
setInterval(() => model.link === "waiting" && drawSoon(), 1_000);
addEventListener("online", () => input({ type: "nudge" }));
document.addEventListener("visibilitychange", () => !document.hidden && input({ type: "nudge" }));

const name = store.name();
if (name) person.enter(name);
else drawSoon();
