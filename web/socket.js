// The edge to the network: one WebSocket at a time, which carries whole native messages as binary messages.

/** `heard({ type: opened | bytes | closed })`; nothing is heard of a connection that was hung up. */
export function socket(heard) {
  let current = null;
  return {
    connect() {
      const url = new URL("/ws", location.href);
      url.protocol = url.protocol.replace("http", "ws");
      const mine = new WebSocket(url, "vang");
      mine.binaryType = "arraybuffer";
      const tell = (input) => mine === current && heard(input);
      mine.addEventListener("open", () => tell({ type: "opened" }));
      mine.addEventListener("message", ({ data }) => tell({ type: "bytes", bytes: new Uint8Array(data) }));
      mine.addEventListener("close", () => tell({ type: "closed" }));
      current = mine;
    },
    write(bytes) {
      if (current?.readyState === WebSocket.OPEN) current.send(bytes); // else `closed` is about to be heard
    },
    hangUp() {
      const mine = current;
      current = null;
      mine?.close();
    },
  };
}
