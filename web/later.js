// What the page loads after the first messages.

export { Attachment } from "./attachment.js";
export { Linked } from "./linked.js";
export { Note } from "./note.js";
export { Side } from "./side.js";
