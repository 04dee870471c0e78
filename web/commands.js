// How a person's line is read: a text, or a command after "/". A text that begins with "/" is written with "//", as at `nc`.

import { note, topicOf } from "./asking.js";

const isAccount = ({ known }) => known !== null && !known.startsWith("guest:");
const bare = (name) => name.replace(/^#/, "");

/**
 * Commands that the page knows: how they are typed, and what must follow (`name`: one word, `text`: anything). Those that are
 * asked of the server have their request, and what its answer shows; an answer that is a room leads there.
 */
export const COMMANDS = {
  join: {
    form: "/join ROOM",
    needs: "name",
    // An account becomes a member. A guest cannot; a question about the room tells whether there is one.
    request: (model, room) => (isAccount(model) ? { action: "join", room: bare(room) } : { action: "history", room: bare(room), limit: 1 }),
    answer: (_, { room }) => room,
  },
  rooms: {
    form: "/rooms",
    request: () => ({ action: "rooms" }),
    answer: (model, { list }) => note(model, "roomsAre", {}, { rooms: list }),
  },
  create: {
    form: "/create ROOM [private]",
    needs: "name",
    request(_, argument) {
      const [room, access] = argument.split(/\s+/);
      return { action: "create", room: bare(room), ...(access ? { access } : {}) };
    },
    answer: (_, { room }) => room,
  },
  topic: {
    form: "/topic [TEXT | -]",
    request: ({ room }, topic) => (topic ? { action: "topic", room, topic: topic === "-" ? "" : topic } : { action: "rooms" }),
    answer(model, { argument, list }) {
      if (argument !== "") return;
      model.around.rooms = list;
      note(model, topicOf(model) ? "topicIs" : "topicNone", { room: `#${model.room}`, topic: topicOf(model) });
    },
  },
  who: {
    form: "/who [ROOM]",
    request: ({ room }, other) => ({ action: "who", room: bare(other.split(/\s+/)[0]) || room }),
    answer: (model, { room, list }) => note(model, "peopleOf", { room: `#${room}` }, { people: list }),
  },
  find: {
    form: "/find WORDS",
    needs: "text",
    request: (_, query) => ({ action: "find", query }),
    answer: (model, { list }) => note(model, "found", { count: list.list.length }, { hits: list }),
  },
  invite: {
    form: "/invite NAME",
    needs: "name",
    request: ({ room }, who) => ({ action: "join", room, who }),
    answer: (model, { argument, room }) => note(model, "invited", { name: argument, room: `#${room}` }),
  },
  leave: {
    form: "/leave",
    request: ({ room }) => ({ action: "leave", room }),
    answer: (model, { room }) => note(model, "leftRoom", { room: `#${room}` }),
  },
  nick: { form: "/nick NAME", needs: "name" },
  "sign-out": { form: "/sign-out" },
  quit: { form: "/quit" },
  help: { form: "/help" },
};

/** `{ text }`, a row of `COMMANDS` with `word` and `argument`, or `{ wrong: { key, values } }` for what is neither. */
export function read(typed) {
  if (!typed.startsWith("/")) return { text: typed };
  if (typed.startsWith("//")) return { text: typed.slice(1) };
  const [, first, argument] = /^\/(\S*)\s*([^]*)$/.exec(typed);
  const word = first.toLowerCase();
  if (!Object.hasOwn(COMMANDS, word)) {
    const known = Object.keys(COMMANDS).map((name) => `/${name}`);
    return { wrong: { key: "unknownCommand", values: { word: excerpt(`/${first}`), known: known.join(" ") } } };
  }
  const row = COMMANDS[word];
  const { form, needs } = row;
  if (needs && !argument) return { wrong: { key: "needsMore", values: { form } } };
  const words = argument.split(/\s+/);
  const isOneWord = words.length === 1 || (word === "create" && words.length === 2 && words[1] === "private");
  if (needs === "name" && !isOneWord) return { wrong: { key: "oneWord", values: { form } } };
  return { ...row, word, argument };
}

const excerpt = (text) => (text.length > 40 ? `${text.slice(0, 40)}…` : text);
