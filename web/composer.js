// Writing: the field for texts and commands.

import { Component } from "./vendor/preact.mjs";
import { read } from "./commands.js";
import { html } from "./parts.js";

export class Composer extends Component {
  componentDidMount() {
    if (!isTouch()) this.field.focus(); // a touch keyboard would cover the room
  }

  /** What is refused stays in the field. */
  post = (event) => {
    event?.preventDefault();
    const text = this.field.value.replace(/\s+$/, "");
    if (text && !this.props.person.typed(read(text))) return this.field.focus();
    this.field.value = "";
    this.field.focus();
  };

  // Not while an input method composes, where Enter ends a syllable. On a touch keyboard Enter starts a new
  // line.
  pressed = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229 && !isTouch()) this.post(event);
    if (event.key === "Escape") this.props.person.closeNote();
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
