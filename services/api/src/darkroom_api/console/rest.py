"""REST as the console asks it: in this process, as the person whose page it is (ADR 0019).

A request of the console goes the same way as one from outside: credentials, permission, limits,
licence, audit. Its client, its headers and its request id are those of the request for the page.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Scope

from darkroom_api.edge.agents import CONSOLE
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import WITHIN

_PASSED: Final = (
    b"authorization",
    b"cookie",
    b"host",
    b"user-agent",
    b"x-csrftoken",
    b"x-forwarded-for",
)
"""Header fields of the page's request that say who asks, from where and with what."""
_AGENT: Final = b"user-agent"
_CONSOLE: Final = CONSOLE.encode()
_FAILED: Final = 400
_KEPT: Final = ("asgi", "http_version", "client", "server", "scheme", "root_path", "app", "state")


class Refused(ApiError):
    """REST has refused what a page asked for; the answer to the page is the same."""

    @classmethod
    def of(cls, status: int, problem: Mapping[str, Any], headers: Mapping[str, str]) -> "Refused":
        """Return the refusal that an answer is."""
        kept = {
            name: headers[name] for name in ("retry-after", "www-authenticate") if name in headers
        }
        made = cls(
            status,
            Code(problem.get("code", Code.INTERNAL_ERROR)),
            str(problem.get("detail", "Something went wrong in Darkroom.")),
            errors=[(one["field"], one["message"]) for one in problem.get("errors", ())],
            headers=kept,
        )
        made.more = {
            name: problem[name]
            for name in ("fault", "dicom_status", "candidates")
            if problem.get(name)
        }
        return made


@dataclass(frozen=True)
class Answer:
    """What REST has answered."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        """Return what the body says; None of an empty one."""
        return json.loads(self.body) if self.body else None


class Rest:
    """Asks routes of this application.

    Args:
        request: for the page, whose credentials are used.
    """

    def __init__(self, request: Request) -> None:
        self._request = request

    async def get(self, path: str, /, **query: Any) -> Any:
        """Return what GET of a path answers as JSON.

        Args:
            path: with `at` around what is not ours.
            query: parameters; those that are None or empty are left out.

        Raises:
            Refused: it answers an error.
        """
        return (await self.ask("GET", path, query=query)).json()

    async def post(self, path: str, body: Any = None, /, **headers: str) -> Any:
        """Return what POST of a body as JSON answers.

        Raises:
            Refused: it answers an error.
        """
        return (
            await self.ask("POST", path, body={} if body is None else body, more=headers)
        ).json()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        more: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer to a request; `more` are header fields, with `_` for `-`.

        Raises:
            Refused: it is an error.
        """
        content = b"" if body is None else json.dumps(body).encode()
        headers = [one for one in self._request.scope["headers"] if one[0] in _PASSED]
        fields = {name.replace("_", "-").lower(): text for name, text in (more or {}).items()}
        headers = [one for one in headers if one[0].decode() not in fields]
        agent = b" ".join([_CONSOLE, *(text for name, text in headers if name == _AGENT)])
        headers = [*(one for one in headers if one[0] != _AGENT), (_AGENT, agent)]
        fields |= {"accept": "application/json", "accept-encoding": "identity"}
        if content:
            fields |= {"content-type": "application/json", "content-length": str(len(content))}
        headers += [(name.encode(), text.encode()) for name, text in fields.items()]
        answer = await self._run(self._scope(method, path, query or {}, headers), content)
        if answer.status >= _FAILED:
            raise Refused.of(answer.status, answer.json() or {}, answer.headers)
        return answer

    def _scope(
        self, method: str, path: str, query: Mapping[str, Any], headers: list[tuple[bytes, bytes]]
    ) -> Scope:
        given = {name: value for name, value in query.items() if value not in (None, "", [])}
        outer = self._request.scope
        kept = {name: outer[name] for name in _KEPT if name in outer}
        return {
            **kept,
            "state": dict(outer["state"]),
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": urlencode(given, doseq=True).encode(),
            "headers": headers,
            WITHIN: True,
        }

    async def _run(self, scope: Scope, content: bytes) -> Answer:
        sent = False
        status, raw, parts = 500, list[tuple[bytes, bytes]](), list[bytes]()

        async def receive() -> Message:
            nonlocal sent
            if sent:
                return await self._request.receive()
            sent = True
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, raw
            if message["type"] == "http.response.start":
                status, raw = message["status"], list(message.get("headers", ()))
            else:
                parts.append(message.get("body", b""))

        await self._request.app(scope, receive, send)
        return Answer(status, Headers(raw=raw), b"".join(parts))
