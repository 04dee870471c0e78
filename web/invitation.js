// The link of an invitation: `/#invite=CODE`; for an account that exists `/#invite=CODE&name=NAME`.

/** `{ code, name }` of a link, or of a code alone; null if there is no code. */
export function invitationIn(text) {
  const link = text.includes("invite=") ? new URLSearchParams(text.slice(text.indexOf("invite="))) : null;
  const code = (link ? link.get("invite") : text).trim();
  return code ? { code, name: link?.get("name") || null } : null;
}
