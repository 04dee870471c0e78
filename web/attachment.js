// What a message has beside a plain text: a picture, the text of a file, and saving it. Pictures and saved files are made of
// the message's own bytes, as `blob:` addresses of this page; the policy (crates/server/src/http/page.rs) lets nothing but
// pictures be shown from there.

import { Component } from "./vendor/preact.mjs";
import { decodeOther } from "./encodings.js";
import { fileName, look } from "./files.js";
import { html, plain } from "./parts.js";
import { isLater, isLong, Text, unreadable } from "./content.js";

/** Of an item that is not shown as text: what it is. Of what is more than a plain text: a button that saves it. */
export class Attachment extends Component {
  constructor({ item }) {
    super();
    const looks = { "not-text": () => look(item.bytes), "other-encoding": () => decodeOther(item.encoding, item.bytes, item.byteorder) };
    this.found = looks[item.why]?.() ?? { text: item.text };
  }

  render({ item, say, write, person }) {
    const { picture, text } = this.found;
    const isPlain = item.type === "text/plain" && text !== undefined && !isLong(text);
    return html`
      ${isLater(item) && shown(item, this.found, say, write, person)}
      ${!isPlain && html`<p class="file">
        ${(picture || text !== undefined) && html`<span>${item.type}, ${write.size(item.size)}</span> `}
        <button type="button" class="quiet" onClick=${() => save(item, this.found)}>${say("save", { name: fileName(item, this.found) })}</button>
      </p>`}`;
  }
}

function shown(item, { picture, text, why }, say, write, person) {
  if (picture?.isTooLarge) return html`<p class="text none">${say("largePicture", picture)}</p>`;
  if (picture) return html`<${Picture} ...${{ item, picture, say }} />`;
  return html`<${Text} text=${text ?? null} none=${text === undefined && unreadable({ ...item, why: why ?? item.why }, say, write)} isFile=${item.type !== "text/plain"} say=${say} person=${person} />`;
}

class Picture extends Component {
  constructor({ item, picture }) {
    super();
    this.url = URL.createObjectURL(new Blob([item.bytes], { type: picture.type }));
  }

  componentWillUnmount() {
    URL.revokeObjectURL(this.url);
  }

  render({ item, picture, say }, { isLarge, isBroken }) {
    const { type, width, height } = picture;
    if (isBroken) return html`<p class="text none">${say("brokenPicture", { type })}</p>`;
    return html`
      <button type="button" class="picture ${isLarge ? "large" : ""}" aria-expanded=${Boolean(isLarge)} title=${say(isLarge ? "smaller" : "larger")} onClick=${() => this.setState({ isLarge: !isLarge })}>
        <img src=${this.url} alt=${say("picture", { from: plain(item.from), width, height })} width=${width} height=${height} loading="lazy" decoding="async" onError=${() => this.setState({ isBroken: true })} />
      </button>`;
  }
}

/** As a type that no browser opens by itself: what a sender wrote must not run as a page of this server. */
function save(item, found) {
  const url = URL.createObjectURL(new Blob([item.bytes ?? item.text], { type: "application/octet-stream" }));
  Object.assign(document.createElement("a"), { href: url, download: fileName(item, found) }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser has read it by then
}
