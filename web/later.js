// What the page loads after the first messages, or to sign in.

export { Attachment } from "./attachment.js";
export { Composer } from "./composer.js";
export { Linked } from "./linked.js";
export { Note } from "./note.js";
export { Own } from "./own.js";
export { Side } from "./side.js";
export { SignIn } from "./sign-in.js";
export { signIn, signOut } from "./signing.js";
