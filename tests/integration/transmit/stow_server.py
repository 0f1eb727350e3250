"""A DICOMweb server that answers to STOW-RS as a script says, and how it becomes a destination."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from darkroom_common.dicom.part10 import decode_head
from darkroom_common.messages.resources import put
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.seal import Seal
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_local.engines.ports import LOOPBACK
from tests.integration.transmit.desk import QUICK, Desk
from tests.support.waiting import LIMIT

HANGS_UP: Final = 0
"""Instead of a status: the connection is closed."""


async def stow(desk: Desk, name: str, url: str, secret: str = "", **changes: Any) -> None:
    given = {"kind": "stow", "url": url, "backoff": QUICK, "answer_seconds": 10.0}
    sealed = ""
    if secret:
        keys = PhiKeys.parse(desk.services.secrets["PHI_KEYS"])
        sealed = Seal(keys).seal(secret, purpose=DESTINATIONS.type("put"))
    spec = DestinationSpec.model_validate(given | changes)
    reply = await desk.ask(put(DESTINATIONS, name, spec, sealed=sealed))
    assert reply.outcome in ("created", "done"), reply


@dataclass
class Server:
    """An HTTP server that answers to a STOW-RS request what `script` returns."""

    script: Callable[[list[str], int], tuple[int, Any]]
    requests: list[list[str]] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    syntaxes: set[str] = field(default_factory=set)
    authorization: str | None = None
    port: int = 0
    discards: bool = False
    length: int = 0


def uids_of(raw: bytes, content_type: str) -> list[tuple[str, str]]:
    """(SOP instance UID, transfer syntax) of the parts of a body, by an e-mail parser."""
    head = f"MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + raw)
    found = []
    for part in message.iter_parts():
        assert part.get_content_type() == "application/dicom"
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        assert data[128:132] == b"DICM"
        meta, _ = decode_head(data)
        found.append((meta.sop_instance_uid, meta.transfer_syntax_uid))
    return found


@contextmanager
def serving(server: Server, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            """Answer to QIDO-RS, which tests a destination, that there is nothing."""
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def do_POST(self) -> None:
            assert self.path == "/dicom-web/studies"
            left = int(self.headers["Content-Length"])
            if server.discards:
                while left:
                    left -= len(self.rfile.read(min(left, 1 << 20)))
                    server.length += 1 << 20
                parts: list[tuple[str, str]] = []
            else:
                parts = uids_of(self.rfile.read(left), self.headers["Content-Type"])
            server.authorization = self.headers["Authorization"]
            uids = [uid for uid, _ in parts]
            server.requests.append(uids)
            status, answer = server.script(uids, len(server.requests))
            if status == HANGS_UP:
                self.close_connection = True
                return
            if status < 300:
                server.stored += uids
                server.syntaxes |= {syntax for _, syntax in parts}
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    http = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    if context is not None:
        http.socket = context.wrap_socket(http.socket, server_side=True)
    server.port = int(http.server_address[1])
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join(LIMIT)


def sequences(
    stored: list[str], failed: dict[str, int] | None = None, warned: dict[str, int] | None = None
) -> dict[str, Any]:
    def item(uid: str, tag: str, value: int | None) -> dict[str, Any]:
        made: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
        return made if value is None else made | {tag: {"vr": "US", "Value": [value]}}

    good = [item(uid, "00081196", (warned or {}).get(uid)) for uid in stored]
    bad = [item(uid, "00081197", value) for uid, value in (failed or {}).items()]
    return {"00081199": {"vr": "SQ", "Value": good}, "00081198": {"vr": "SQ", "Value": bad}}
