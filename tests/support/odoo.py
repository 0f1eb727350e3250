"""A stand-in of Odoo's external APIs, made from its public documentation.

`/jsonrpc` with the services `common` and `object` up to Odoo 21; `/json/2/<model>/<method>` from
Odoo 19 on; `res.users.apikeys` with its limits; and the vendor's model `darkroom.licence`. It gives
errors as Odoo does: JSON-RPC's in answers of 200 with a traceback, JSON-2's by their status, and
pages of HTML for what it does not serve. `answer` is pure but for its state; `OdooServer` serves it
by HTTPS.
"""

import json
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from darkroom_licensing.document import Document, sign
from tests.support.certificates import Pair
from tests.support.waiting import LIMIT

DATABASE: Final = "vendor"
LOGIN: Final = "licences@vendor.example"
FIRST_KEY: Final = "f1" * 20
INSTALLATION: Final = "clinic-7"
SIGNED_BY: Final = "2026"
_HTML: Final = "text/html; charset=utf-8"
_JSON: Final = "application/json; charset=utf-8"
_TRACEBACK: Final = 'Traceback (most recent call last):\n  File "/opt/odoo/odoo/http.py"\n'
_KEYS_MOST: Final = 10
_LONGEST: Final = timedelta(days=92)
Answer = tuple[int, str, bytes]
_NOT_FOUND: Final = (404, _HTML, b"<!doctype html><title>404 Not Found</title>")
_FAULTS: Final[Mapping[str, Answer]] = {
    "html": (200, _HTML, b"<html>A portal of the hotel</html>"),
    "503": (503, _HTML, b"<html>Maintenance</html>"),
    "404": _NOT_FOUND,
    "500": (500, _HTML, b"<html>Internal Server Error</html>"),
    "garbage": (200, _JSON, b'{"document": '),
    "long": (200, _JSON, b'"' + b"x" * (1 << 20) + b'"'),
    "redirect": (302, _HTML, b""),
}


class Raised(Exception):
    """An exception of Odoo's server.

    Args:
        name: of its class.
        status: by JSON-2.
    """

    def __init__(self, name: str, message: str, status: int) -> None:
        super().__init__(message)
        self.name = name
        self.status = status

    def body(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "debug": f"{_TRACEBACK}{self.name}: {self}",
            "message": str(self),
            "arguments": [str(self), self.status],
            "context": {},
        }


@dataclass
class OdooStandIn:
    """Its state.

    Attributes:
        now: its clock.
        version: 17 and later; which protocols there are.
        keys: when each API key expires; None: never.
        refusal: what it says in the place of a licence.
        licence: fields of the document beside those that it sets.
        fault: `html`, `503`, `404`, `500`, `garbage`, `long`, `redirect`: what it does instead.
        calls: `model.method` of each call that got through, with the protocol.
    """

    now: Callable[[], datetime]
    version: int = 19
    signing: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    keys: dict[str, date | None] = field(default_factory=lambda: {FIRST_KEY: None})
    programmatic: bool = True
    refusal: str = ""
    licence: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    reuse: str = ""

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return status, type and content."""
        if self.fault:
            return _FAULTS[self.fault]
        if method == "POST" and path == "/jsonrpc" and self.version <= 21:
            return self._json_rpc(body)
        if method == "POST" and path.startswith("/json/2/") and self.version >= 19:
            return self._json_2(path, headers, body)
        return _NOT_FOUND

    def _json_rpc(self, body: bytes) -> Answer:
        asked = json.loads(body)
        params = asked["params"]
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            reply["result"] = self._service(params["service"], params["method"], params["args"])
        except Raised as error:
            reply["error"] = {"code": 200, "message": "Odoo Server Error", "data": error.body()}
        return 200, "application/json", json.dumps(reply).encode()

    def _service(self, service: str, method: str, args: list[Any]) -> Any:
        if args and args[0] != DATABASE:
            raise Raised("psycopg2.OperationalError", f'database "{args[0]}" does not exist\n', 500)
        match service, method, args:
            case "common", "version", []:
                return {"server_version": f"{self.version}.0", "protocol_version": 1}
            case "common", "authenticate", [_, login, key, _]:
                return 7 if login == LOGIN and self._is_valid(key) else False
            case "object", "execute_kw", [_, uid, key, model, name, [], kwargs]:
                if uid != 7 or not self._is_valid(key):
                    raise Raised("odoo.exceptions.AccessDenied", "Access Denied", 403)
                return self._call("JSON-RPC", key, model, name, kwargs)
        raise Raised("builtins.NameError", f"Method not available {service}.{method}", 500)

    def _json_2(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("x-odoo-database", DATABASE) != DATABASE:
            return _NOT_FOUND
        model, _, method = path.removeprefix("/json/2/").partition("/")
        scheme, _, key = headers.get("authorization", "").partition(" ")
        try:
            self._require_bearer(scheme, key, headers.get("content-type", ""))
            kwargs = json.loads(body)
            kwargs.pop("context", None)
            result = self._call("JSON-2", key, model, method, kwargs)
        except Raised as error:
            return error.status, _JSON, json.dumps(error.body()).encode()
        return 200, _JSON, json.dumps(result).encode()

    def _require_bearer(self, scheme: str, key: str, kind: str) -> None:
        if scheme.lower() != "bearer" or not self._is_valid(key):
            raise Raised("werkzeug.exceptions.Unauthorized", "Invalid apikey", 401)
        if not kind.startswith("application/json"):
            raise Raised("werkzeug.exceptions.UnsupportedMediaType", "not JSON", 415)

    def _is_valid(self, key: object) -> bool:
        if not isinstance(key, str) or key not in self.keys:
            return False
        expires = self.keys[key]
        return expires is None or self.now().date() <= expires

    def _call(self, protocol: str, key: str, model: str, method: str, kwargs: Any) -> Any:
        self.calls.append((protocol, f"{model}.{method}"))
        match model, method:
            case "darkroom.licence", "issue":
                return self._issue(**kwargs)
            case "res.users.apikeys", "generate" if self.version >= 19:
                return self._generate(key, **kwargs)
            case "res.users.apikeys", "revoke" if self.version >= 19:
                return self._revoke(**kwargs)
        raise Raised("werkzeug.exceptions.NotFound", f"the model {model!r} does not exist", 404)

    def _issue(self, *, installation: str, release: str, nonce: str) -> dict[str, str]:
        del release
        if self.refusal:
            return {"refused": self.refusal}
        if self.reuse:
            return {"document": self.reuse}
        now = self.now()
        fields = {
            "licence_id": "L-1",
            "customer": "Clinic Seven",
            "valid_from": now - timedelta(days=1),
            "valid_until": now + timedelta(days=365),
            **self.licence,
        }
        document = Document.model_validate(
            {"installation": installation, "nonce": nonce, "issued_at": now, **fields}
        )
        return {"document": sign(document, self.signing, name=SIGNED_BY)}

    def _generate(
        self, used: str, *, key: str, scope: str | None, name: str, expiration_date: str
    ) -> str:
        del scope, name
        if not self.programmatic:
            raise Raised(
                "odoo.exceptions.AccessError", "Programmatic API keys are not enabled", 403
            )
        expires = date.fromisoformat(expiration_date)
        today = self.now().date()
        if key != used or not today < expires <= today + _LONGEST:
            raise Raised("odoo.exceptions.ValidationError", "The API key cannot last so long", 422)
        self.keys = {one: end for one, end in self.keys.items() if end is None or end >= today}
        if len(self.keys) >= _KEYS_MOST:
            raise Raised("odoo.exceptions.UserError", "Limit of 10 API keys is reached", 422)
        made = secrets.token_hex(20)
        self.keys[made] = expires
        return made

    def _revoke(self, *, key: str) -> None:
        if self.keys.pop(key, key) == key:
            raise Raised("odoo.exceptions.AccessError", "The provided API key is invalid.", 403)

    def transport(self, away: Callable[[], str] = lambda: "") -> httpx.MockTransport:
        """Return a transport of httpx; `away` says `connect`, `slow`, or nothing."""

        def respond(request: httpx.Request) -> httpx.Response:
            match away():
                case "connect":
                    raise httpx.ConnectError("no route to host", request=request)
                case "slow":
                    raise httpx.ReadTimeout("too slow", request=request)
            status, kind, content = self.answer(
                request.method, request.url.path, request.headers, request.content
            )
            return httpx.Response(status, headers={"content-type": kind}, content=content)

        return httpx.MockTransport(respond)


class OdooServer:
    """Serves a stand-in by HTTPS on a port of this machine, in threads.

    Args:
        pair: its certificate.
    """

    def __init__(self, odoo: OdooStandIn, pair: Pair) -> None:
        self.odoo = odoo
        self.slow = threading.Event()  # set: it answers after `release` is set
        self.release = threading.Event()
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_of: OdooServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server_of.slow.is_set():
            self.server_of.release.wait(LIMIT)
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, kind, content = self.server_of.odoo.answer("POST", self.path, headers, body)
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing."""
