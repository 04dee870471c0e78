// What the page loads after the first messages, or to sign in.

export { Accept } from "./accept.js";
export { Attachment } from "./attachment.js";
export { Certificate } from "./certificate.js";
export { Composer } from "./composer.js";
export { Linked } from "./linked.js";
export { Note } from "./note.js";
export { Own } from "./own.js";
export { Side } from "./side.js";
export { SignIn } from "./sign-in.js";
export { accept, signIn, signOut } from "./signing.js";
