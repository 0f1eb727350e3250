"""A service that only says that it is ready; run as a program by fake_stack.py."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"status": "ready", "checks": {}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


def leave(*_: object) -> None:
    print("drained", flush=True)
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in sys.argv else leave)
    print("started", flush=True)
    HTTPServer(("127.0.0.1", int(os.environ["DARKROOM_HEALTH_PORT"])), Handler).serve_forever()
