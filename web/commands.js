// What a person types: a text, or a command after "/". A text that begins with "/" is written with "//", as at `nc`.

/** Commands that the page knows: how they are typed, and what must follow (`name`: one word, `text`: anything). */
export const COMMANDS = {
  join: { form: "/join ROOM", needs: "name" },
  rooms: { form: "/rooms" },
  create: { form: "/create ROOM [private]", needs: "name" },
  topic: { form: "/topic [TEXT | -]" },
  who: { form: "/who [ROOM]" },
  find: { form: "/find WORDS", needs: "text" },
  invite: { form: "/invite NAME", needs: "name" },
  leave: { form: "/leave" },
  nick: { form: "/nick NAME", needs: "name" },
  quit: { form: "/quit" },
  help: { form: "/help" },
};

/** `{ text }`, `{ word, argument }`, or `{ wrong: { key, values } }` for what is neither. */
export function read(typed) {
  if (!typed.startsWith("/")) return { text: typed };
  if (typed.startsWith("//")) return { text: typed.slice(1) };
  const [, first, argument] = /^\/(\S*)\s*([^]*)$/.exec(typed);
  const word = first.toLowerCase();
  if (!Object.hasOwn(COMMANDS, word)) {
    const known = Object.keys(COMMANDS).map((name) => `/${name}`);
    return { wrong: { key: "unknownCommand", values: { word: excerpt(`/${first}`), known: known.join(" ") } } };
  }
  const { form, needs } = COMMANDS[word];
  if (needs && !argument) return { wrong: { key: "needsMore", values: { form } } };
  const words = argument.split(/\s+/);
  const isOneWord = words.length === 1 || (word === "create" && words.length === 2 && words[1] === "private");
  if (needs === "name" && !isOneWord) return { wrong: { key: "oneWord", values: { form } } };
  return { word, argument };
}

const excerpt = (text) => (text.length > 40 ? `${text.slice(0, 40)}…` : text);
