"""How often a selector wakes within 0.2 s while there is nothing to read and nothing to send."""
import selectors, socket, time

ours, theirs = socket.socketpair()
ours.setblocking(False)
for name, events in (("read and write", selectors.EVENT_READ | selectors.EVENT_WRITE), ("read", selectors.EVENT_READ)):
    with selectors.DefaultSelector() as selector:
        selector.register(ours, events)
        wakes, end = 0, time.monotonic() + 0.2
        while (rest := end - time.monotonic()) > 0:
            wakes += len(selector.select(rest))
    print(f"interest in {name}: woken {wakes} times")
