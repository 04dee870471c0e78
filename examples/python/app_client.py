#!/usr/bin/env python3
"""The tutorial's application client: one request, one response. Run it as
    python3 app_client.py HOST PORT ACTION VALUE
`search` sends JSON and prints the result; any other action sends bytes and prints the response's bytes."""
import json, sys
import vang

def main(host, port, action, value):
    with vang.connect(host, port, silence=5) as stream:
        if action == "search":
            request = json.dumps({"action": action, "value": value}, ensure_ascii=False)
            vang.write_message(stream, request.encode("utf-8"))
        else:
            content = (action + value).encode("utf-8")
            vang.write_message(stream, content, "binary/custom-client-binary-type", "binary")
        header, content = vang.read_message(stream)
    if header["content-type"] == "text/json":
        print(json.loads(vang.text(header, content))["result"])
    else:
        sys.stdout.buffer.write(content)

if len(sys.argv) != 5:
    print(__doc__, file=sys.stderr)
    sys.exit(2)
try:
    main(*sys.argv[1:])
except (OSError, EOFError, LookupError, ValueError) as error:
    sys.exit(f"app_client: {error}")
