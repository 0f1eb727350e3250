"""The two protocols of Odoo's external API, each in the one form that we need.

JSON-2 (`/json/2/<model>/<method>`, from Odoo 19 on) takes named arguments and a bearer key, and
tells errors by the status of HTTP. JSON-RPC (`/jsonrpc`, up to Odoo 21) signs a user in first,
takes the key as a password, and tells errors within an answer of 200.
"""

import itertools
from collections.abc import Mapping
from typing import Any, Final, Protocol

from darkroom_licensing.odoo.faults import KeyRefused, NotServed, OdooRefused, OdooUnreachable
from darkroom_licensing.odoo.wire import Answered, Wire

_OK: Final = 200
_NO_SUCH_ROUTE: Final = frozenset({404, 405, 415, 501})
_NOT_ALLOWED: Final = frozenset({401, 403})
_SERVER_ERROR: Final = 500
_DENIED: Final = ("odoo.exceptions.AccessDenied", "odoo.http.SessionExpiredException")
_LONGEST: Final = 200


class Spoken(Protocol):
    """A way to call a method of a model."""

    name: str

    async def call(
        self, key: str, model: str, method: str, params: Mapping[str, Any], *, again: bool
    ) -> Any:
        """Return what the method has returned.

        Args:
            key: an API key.
            model: by its technical name.
            method: of the model, not of records.
            params: by name.
            again: whether it may be called twice.

        Raises:
            NotServed, KeyRefused, OdooRefused, OdooUnreachable: see there.
        """
        ...


class Json2:
    """JSON-2: Odoo 19 and later."""

    name = "JSON-2"

    def __init__(self, wire: Wire, database: str) -> None:
        self._wire = wire
        self._headers = {"X-Odoo-Database": database} if database else {}

    async def call(
        self, key: str, model: str, method: str, params: Mapping[str, Any], *, again: bool
    ) -> Any:
        """See `Spoken.call`."""
        headers = {**self._headers, "Authorization": f"bearer {key}"}
        answer = await self._wire.post(f"/json/2/{model}/{method}", params, headers, again=again)
        if answer.status == _OK:
            return answer.body
        said = answer.body if isinstance(answer.body, dict) else {}
        if answer.status in _NO_SUCH_ROUTE and "name" not in said:
            raise NotServed(self.name)
        if answer.status in _NOT_ALLOWED and "name" in said:
            raise KeyRefused(f"it refuses the API key or its user ({answer.status})")
        if "name" in said and answer.status < _SERVER_ERROR:
            raise OdooRefused(_said(said.get("message"), said["name"]))
        raise OdooUnreachable(_unexpected(answer))


class JsonRpc:
    """JSON-RPC: Odoo up to 21."""

    name = "JSON-RPC"

    def __init__(self, wire: Wire, database: str, login: str) -> None:
        self._wire = wire
        self._database = database
        self._login = login
        self._numbers = itertools.count(1)
        self._uid: tuple[str, int] | None = None

    async def call(
        self, key: str, model: str, method: str, params: Mapping[str, Any], *, again: bool
    ) -> Any:
        """See `Spoken.call`."""
        if self._uid is None or self._uid[0] != key:
            user = [self._database, self._login, key, {}]
            uid = await self._ask("common", "authenticate", user, again=True)
            if not isinstance(uid, int) or isinstance(uid, bool):
                raise KeyRefused("it refuses the user or the API key")
            self._uid = (key, uid)
        arguments: list[Any] = [self._database, self._uid[1], key, model, method, [], dict(params)]
        try:
            return await self._ask("object", "execute_kw", arguments, again=again)
        except KeyRefused:
            self._uid = None
            raise

    async def _ask(self, service: str, method: str, arguments: list[Any], *, again: bool) -> Any:
        number = next(self._numbers)
        body = {
            "jsonrpc": "2.0",
            "method": "call",
            "params": {"service": service, "method": method, "args": arguments},
            "id": number,
        }
        answer = await self._wire.post("/jsonrpc", body, {}, again=again)
        said = answer.body if isinstance(answer.body, dict) else {}
        if answer.status in _NO_SUCH_ROUTE and "jsonrpc" not in said:
            raise NotServed(self.name)
        if answer.status != _OK or said.get("id") != number:
            raise OdooUnreachable(_unexpected(answer))
        error = said.get("error")
        if error is None:
            return said.get("result")
        data = error.get("data") if isinstance(error, dict) else None
        data = data if isinstance(data, dict) else {}
        if data.get("name") in _DENIED:
            raise KeyRefused("it refuses the user or the API key")
        raise OdooRefused(_said(data.get("message"), data.get("name")))


def _said(message: object, name: object) -> str:
    """Return the first line of what Odoo says; never its traceback."""
    line = str(message or name or "no reason").strip().partition("\n")[0]
    return "".join(one if one.isprintable() else " " for one in line)[:_LONGEST]


def _unexpected(answer: Answered) -> str:
    return f"it answers {answer.status}, not as Odoo does"
