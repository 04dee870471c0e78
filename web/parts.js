// What every part of the screen uses: templates, names in their colours, parts that are loaded later.

import { Component, h } from "./vendor/preact.mjs";
import htm from "./vendor/htm.mjs";

export const html = htm.bind(h);

const HUES = 12; // each in two depths

export const plain = (from) => from.replace(/^guest:/, "");

/** A guest's name belongs to nobody: the page says so next to it. */
export function Name({ from, say }) {
  const isGuest = from.startsWith("guest:");
  const { hue, isDeep } = colour(from);
  return html`<bdi class="coloured ${isDeep ? "deep" : ""}" style=${{ "--hue": hue }}>${plain(from)}</bdi>${isGuest && html` <small>${say("guest")}</small>`}`;
}

/** The same colour for a name in every browser (FNV-1a); app.css has lightness and chroma. */
export function colour(name) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  const place = (hash >>> 0) % (2 * HUES);
  return { hue: (place >> 1) * (360 / HUES) + 15, isDeep: place % 2 === 1 };
}

/** Drawn again only when its properties change: a new line costs nothing for a thousand old ones. */
export class Painted extends Component {
  shouldComponentUpdate(next) {
    return Object.keys(next).some((key) => next[key] !== this.props[key] && key !== "children");
  }
}

let later = null; // the module, when it is there

/** A component of later.js, which is loaded when the first one is drawn; until then `meanwhile`. */
export class Later extends Component {
  componentDidMount() {
    const loaded = (module) => ((later = module), this.setState({}));
    if (!later) this.props.person.more().then(loaded, this.props.person.outdated);
  }

  render({ part, ...props }) {
    return later ? h(later[part], props) : props.meanwhile;
  }
}

/** Why the server refused, in the reader's language if the page has the words; otherwise as the server says it. */
export const reason = (say, { code, detail }) => say.has(`code-${code}`) ? say(`code-${code}`) : (detail ?? code);
