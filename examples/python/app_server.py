#!/usr/bin/env python3
"""The tutorial's application server: one request per connection, a thread for each. Run it as
    python3 app_server.py HOST PORT        (port 0: any free one; it is printed)"""
import json, socket, socketserver, sys
import vang

ANSWERS = {
    "morpheus": "Follow the white rabbit. 🐰",
    "ring": "In the caves beneath the Misty Mountains. 💍",
    "🐶": "🐾 Playing ball! 🏐",
}

def result(request):
    action, query = request.get("action"), request.get("value")
    if action != "search":
        return f"Error: invalid action '{action}'."
    return isinstance(query, str) and ANSWERS.get(query) or f"No match for '{query}'."

class Connection(socketserver.StreamRequestHandler):
    timeout = 10  # seconds of silence
    def handle(self):
        try:
            header, content = vang.read_message(self.rfile)
            if header["content-type"] == "text/json":
                answer = {"result": result(json.loads(vang.text(header, content)))}
                vang.write_message(self.wfile, json.dumps(answer, ensure_ascii=False).encode("utf-8"))
            else:
                answer = b"First 10 bytes of request: " + content[:10]
                vang.write_message(self.wfile, answer, "binary/custom-server-binary-type", "binary")
        except Exception as error:  # whatever one peer sends, the others are served
            print(f"{self.client_address}: {error!r}", file=sys.stderr)

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

host, port = sys.argv[1:]
Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
with Server((host, int(port)), Connection) as server:
    print(f"listening on {host}:{server.server_address[1]}", flush=True)
    server.serve_forever()
