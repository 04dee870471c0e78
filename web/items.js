// What stands in the log: one item for an event of the room.

import { textOf } from "./text.js";

const LONG_BYTES = 5_000; // a longer text counts as a file
const FILE_BYTES_KEPT = 32 << 20; // pictures and files among the items; older ones are loaded again on request

/** The item of an event; null for unknown events. */
export function itemOf({ header, content }) {
  const event = header.text("event");
  const seq = header.number("seq");
  const item = { event, seq, room: header.text("room") };
  if (seq === null) return null;
  switch (event) {
    case "message": {
      const type = header.text("content-type");
      const encoding = header.text("content-encoding");
      const about = { n: header.number("n"), from: header.text("from"), time: header.text("time"), type, encoding, byteorder: header.text("byteorder") };
      const told = textOf({ header, content });
      // More than a short text: it can be saved as it was sent.
      const isFile = told.why !== undefined || type !== "text/plain" || content.length > LONG_BYTES;
      return { ...item, ...about, size: content.length, ...told, ...(isFile ? { bytes: content } : {}) };
    }
    case "hole":
      return { ...item, n: header.number("from"), to: header.number("to"), why: header.text("why") };
    case "joined":
    case "left":
    case "room-created":
      return { ...item, from: header.text("from"), time: header.text("time") };
    case "topic":
      return { ...item, from: header.text("from"), time: header.text("time"), topic: header.text("topic") };
    default:
      return null;
  }
}

export const isNumbered = (item) => item.event === "message" || item.event === "hole";

/** Releases the bytes and texts of old items if all hold too many: such an item has `isReleased`. */
export function keep(model) {
  if (model.items.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0) <= FILE_BYTES_KEPT) return;
  let held = 0; // down to the half, the newest first
  const kept = [...model.items].reverse().map((item) => {
    held += item.bytes?.length ?? 0;
    return item.bytes && held > FILE_BYTES_KEPT / 2 ? released(item) : item;
  });
  model.items = kept.reverse();
}

const released = ({ bytes, text, ...item }) => ({ ...item, isReleased: true });
