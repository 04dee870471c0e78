// What a file in a message is: a picture, a text, or something to save. The bytes decide, not the type that the sender wrote: HTML
// and SVG are text here, whatever they are called.

// A picture of a few bytes can need gigabytes when it is decoded: these need 64 MB.
const PIXELS_MAX = 16_000_000;
const SIDE_MAX = 16_384;

/** What the content of an item is, which is not encoded text: `{ picture }`, `{ text }` or nothing of both. */
export function look(bytes) {
  const picture = pictureOf(bytes);
  if (picture) return { picture };
  const text = utf8(bytes);
  return text === null ? {} : { text };
}

/** Text without control characters; null: something else. */
function utf8(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return /[\0-\x08\x0e-\x1f\x7f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

/** By its first bytes; null: not a PNG, JPEG, GIF or WebP. */
export function pictureOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const [type, sizeOf] of Object.entries(SIZES)) {
    const size = sizeOf(view, (at, text) => at + text.length <= bytes.length && [...text].every((c, i) => bytes[at + i] === c.charCodeAt(0)));
    if (!size || size.includes(0)) continue;
    const [width, height] = size;
    return { type, width, height, isTooLarge: width * height > PIXELS_MAX || Math.max(width, height) > SIDE_MAX };
  }
  return null;
}

const SIZES = {
  "image/png": (view, has) => has(0, "\x89PNG\r\n\x1a\n") && has(12, "IHDR") && view.byteLength >= 24 && [view.getUint32(16), view.getUint32(20)],
  "image/gif": (view, has) => (has(0, "GIF87a") || has(0, "GIF89a")) && view.byteLength >= 10 && [view.getUint16(6, true), view.getUint16(8, true)],
  "image/webp": (view, has) => has(0, "RIFF") && has(8, "WEBP") && view.byteLength >= (has(12, "VP8L") ? 25 : 30) && webpSize(view, has),
  "image/jpeg": (view, has) => has(0, "\xff\xd8\xff") && jpegSize(view),
};

function webpSize(view, has) {
  const three = (at) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16);
  if (has(12, "VP8X")) return [three(24) + 1, three(27) + 1];
  if (has(12, "VP8 ")) return [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
  const bits = view.getUint32(21, true);
  return has(12, "VP8L") && [(bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1];
}

/** Segments up to the frame's header: marker, length, and there height and width. */
function jpegSize(view) {
  for (let at = 2; at + 9 <= view.byteLength && view.getUint8(at) === 0xff; ) {
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) at += 1; // filling
    else if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return [view.getUint16(at + 7), view.getUint16(at + 5)];
    else at += 2 + view.getUint16(at + 2);
  }
  return null;
}

const ENDINGS = {
  "text/csv": "csv", "text/markdown": "md", "text/json": "json", "application/json": "json", "application/pdf": "pdf",
  "application/zip": "zip", "image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp",
};

/** A name for saving: the message's address with an ending. Other text is `.txt`: no program runs it. */
export function fileName({ room, n, type }, { text, picture }) {
  const known = picture ? picture.type : (type ?? "").toLowerCase();
  const ending = Object.hasOwn(ENDINGS, known) && (picture || !known.startsWith("image/")) ? ENDINGS[known] : text === undefined ? "bin" : "txt";
  return `${room}-${n}.${ending}`;
}
