// The network: one WebSocket at a time, with whole native messages as binary messages.

/** Calls `heard({ type: opened | bytes | closed })`, but not for a connection that was hung up. */
export function socket(heard) {
  let current = null;
  return {
    connect() {
      const url = new URL("/ws", location.href);
      url.protocol = url.protocol.replace("http", "ws");
      const mine = new WebSocket(url, "vang");
      mine.binaryType = "arraybuffer";
      const report = (input) => mine === current && heard(input);
      mine.addEventListener("open", () => report({ type: "opened" }));
      mine.addEventListener("message", ({ data }) => report({ type: "bytes", bytes: new Uint8Array(data) }));
      mine.addEventListener("close", () => report({ type: "closed" }));
      current = mine;
    },
    write(bytes) {
      if (current?.readyState === WebSocket.OPEN) current.send(bytes); // otherwise `closed` comes soon
    },
    hangUp() {
      const mine = current;
      current = null;
      mine?.close();
    },
  };
}
