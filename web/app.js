// The page's I/O: connects the state machine in session.js with a socket, a clock, the browser's storage and
// the screen.
//
//     person, socket, clock ──▶ update(model, input) ──▶ effects: connect, write, hang-up, say, keep-name
//                                      └──▶ draw(model)

import * as requests from "./requests.js";
import { begin, deadline, HOME, update } from "./session.js";
import { socket } from "./socket.js";
import { store } from "./store.js";
import { draw } from "./view.js";
import { choose } from "./words.js";

let link = null; // "#invite=CODE" of an invitation that was opened, until it is used
takeLink(location.pathname + location.search);
const model = begin(roomInAddress(), store.unsent());
const screen = { language: null, words: null, wantsMore: false, spoken: [], isSideOpen: false };
const wide = matchMedia("(min-width: 60rem)"); // as in app.css: then rooms and people are always shown
const wire = socket(input);
const perform = {
  connect: () => wire.connect(),
  write: ({ bytes }) => wire.write(bytes),
  "hang-up": () => wire.hangUp(),
  say: ({ item }) => screen.spoken.push(item),
  "keep-name": ({ name }) => store.keepName(name),
  "ask-session": askSession,
  "ask-admission": askAdmission,
  "sign-in": () => signIn("signIn"),
  accept: () => signIn("accept"),
  "sign-out": signOut,
};
let secret = null; // { name, password, device, code }: only while the server is asked whether it is right

function input(what) {
  // While it enters, the server says how the room is called: that is no step of the person.
  const how = what.type === "bytes" && model.link === "greeting" ? "replaceState" : "pushState";
  for (const effect of update(model, what, Date.now(), Math.random())) perform[effect.type](effect);
  store.keepUnsent(model.pending);
  if (!model.door.signing) secret = null;
  if (!model.door.hasCode) link = null;
  if (model.room !== roomInAddress()) history[how](null, "", `#${encodeURIComponent(model.room)}`);
  wake();
  drawSoon();
}

/** The code of an invitation goes out of the address at once, so that history and reload do not have it; `address` comes there. */
function takeLink(address) {
  if (!location.hash.startsWith("#invite=")) return false;
  link = location.hash;
  history.replaceState(null, "", address);
  return true;
}

/** The address was changed by hand, by a link, or by going back. */
function moved() {
  if (takeLink(`#${encodeURIComponent(model.room)}`)) input({ type: "invited" });
  else input({ type: "go", room: roomInAddress() });
}

/** A room can be named behind the address: `/#dev`. */
function roomInAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || HOME;
  } catch {
    return HOME;
  }
}

let timer = null;
function wake() {
  clearTimeout(timer);
  const due = deadline(model);
  // At most what timers can count; an early wake-up does nothing.
  if (due !== null) timer = setTimeout(() => input({ type: "tick" }), Math.min(Math.max(due - Date.now(), 0) + 1, 1e9));
}

const person = {
  enter: (name) => input({ type: "enter", name }),
  leave: () => input({ type: "leave" }),
  /** Is the line taken? Otherwise the model has the reason. */
  typed(line) {
    input({ type: "scrolled", atEnd: true });
    input({ type: "typed", id: freshId(), line });
    return !model.around.note?.isRefused;
  },
  go(room) {
    if (screen.isSideOpen) person.toggleSide();
    input({ type: "go", room });
  },
  load: (n) => input({ type: "load", n }),
  closeNote: () => input({ type: "close-note" }),
  way: (way, name) => input({ type: "way", way, name }),
  /** `asked`: { name, password, device }; with `code`, an invitation is accepted. */
  signIn(asked) {
    if (model.door.signing) return;
    secret = asked;
    input({ type: asked.code ? "accept" : "sign-in", name: asked.name });
  },
  link: () => link,
  stay: () => input({ type: "stay" }),
  cancelSignIn: () => input({ type: "cancel-sign-in" }),
  signOut: () => input({ type: "sign-out" }),
  toggleSide() {
    screen.isSideOpen = !screen.isSideOpen;
    watch();
    drawSoon();
  },
  again: (id) => input({ type: "again", id }),
  discard: (id) => input({ type: "discard", id }),
  older: () => input({ type: "older" }),
  scrolled: (atEnd) => atEnd !== model.atEnd && input({ type: "scrolled", atEnd }),
  now: () => input({ type: "nudge" }),
  dismiss: () => input({ type: "dismiss" }),
  async speak(language) {
    if (await speak(language)) store.keepLanguage(language);
    else person.outdated();
  },
  outdated: () => input({ type: "outdated" }),
  more,
};

/** Not `crypto.randomUUID`, which browsers do not offer to pages from other machines over plain HTTP. */
function freshId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Draws in this language, as soon as its texts are here. Without a connection nothing changes. */
async function speak(language) {
  try {
    const { words } = await import(`./words/${language}.js`);
    if (screen.wantsMore) await moreWords(language, words);
    Object.assign(screen, { language, words });
    drawSoon();
    return true;
  } catch {
    return false;
  }
}

/** The texts of what is loaded later. */
async function moreWords(language, words) {
  Object.assign(words, (await import(`./words/${language}-later.js`)).words);
}

/** What is not needed for the first messages. */
async function more() {
  screen.wantsMore = true; // from here on a change of the language loads these texts, too
  const [module] = await Promise.all([import("./later.js"), moreWords(screen.language, screen.words)]);
  return module;
}

/** Are rooms and people on the screen? */
function watch() {
  input({ type: "watch", isWatched: !document.hidden && (wide.matches || screen.isSideOpen) });
}

/** What the server admits from here; without an answer the page says nothing of it. */
async function askAdmission() {
  const admission = await requests.admission();
  if (admission) input({ type: "admission", admission });
}

let asked = 0; // how often; only the last answer counts
async function askSession() {
  asked += 1;
  const mine = asked;
  const answer = await requests.session();
  if (mine === asked) input({ type: "session", ...answer });
}

async function signIn(how) {
  const asked = secret;
  const answer = await (await more())[how](asked);
  input({ type: answer.trouble ? "sign-in-refused" : "signed-in", ...answer });
}

async function signOut() {
  const away = () => ({ trouble: { code: "unreachable", detail: null } });
  const answer = await more().then((module) => module.signOut()).catch(away);
  input({ type: answer.trouble ? "sign-out-refused" : "signed-out", ...answer });
}

// One repaint for all input of one turn: before the next frame if there are frames.
let isDue = false;
function drawSoon() {
  if (isDue) return;
  isDue = true;
  const paint = () => {
    if (!isDue) return;
    isDue = false;
    if (screen.words) draw(model, screen, person, Date.now());
  };
  requestAnimationFrame(paint);
  if (document.hidden) setTimeout(paint, 100);
}

// The page shows the remaining seconds of a wait.
setInterval(() => (model.link === "waiting" || model.door.signing) && drawSoon(), 1_000);
addEventListener("online", () => input({ type: "nudge" }));
addEventListener("hashchange", moved);
addEventListener("popstate", moved);
wide.addEventListener("change", watch);
document.addEventListener("visibilitychange", () => {
  watch();
  if (!document.hidden) input({ type: "nudge" });
});

speak(store.language() ?? choose(navigator.languages));
input({ type: "begin", name: store.name(), isInvited: link !== null });
watch();
