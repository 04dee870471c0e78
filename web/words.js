// The languages of the page, and how its texts are filled in. The texts themselves are in words/; texts from the server stay
// as they are.

/** The languages of the page, each by its own name. The texts of one are loaded when they are needed. */
export const LANGUAGES = { en: "English", vi: "Tiếng Việt" };

/** The first language of the browser that the page has. */
export function choose(wanted) {
  return wanted.map((tag) => tag.split("-")[0].toLowerCase()).find((tag) => Object.hasOwn(LANGUAGES, tag)) ?? "en";
}

const made = {};

/** A speaker of this language, with its texts: `say(key, values)`; `count` in the values chooses the plural. `say.has(key)`: is there such a text? Always the same one: what is drawn with it is not drawn again. */
export const speaker = (language, words) => (made[language] ??= make(language, words));

function make(language, words) {
  const plurals = new Intl.PluralRules(language);
  const numbers = new Intl.NumberFormat(language);
  const say = (key, values = {}) => {
    const found = words[key];
    const sentence = typeof found === "string" ? found : (found[plurals.select(values.count)] ?? found.other);
    return sentence.replace(/\{(\w+)\}/g, (_, name) => (name === "count" ? numbers.format(values[name]) : values[name]));
  };
  say.has = (key) => Object.hasOwn(words, key);
  return say;
}
