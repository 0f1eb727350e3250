"""Finds the route of a request without trying every one of them."""

from collections import defaultdict
from typing import Any, Final

from fastapi import FastAPI
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

_LITERALS: Final = 3
"""Leading parts of a path by which routes are told apart."""
_DEEP: Final = ":path}"

Key = tuple[int, tuple[str, ...]]
"""Parts of a path, 0 for any number, and the first ones that are literal."""


class Directory:
    """Hands a request to the route that takes it; what none takes is the router's to answer.

    A router tries its routes one by one, which costs more than most of them do. Here are tried, in
    the same order, only those whose number of parts and first parts are those of the path.
    """

    def __init__(self, app: FastAPI) -> None:
        self._router = app.router
        self._routes: defaultdict[Key, list[tuple[int, Route]]] = defaultdict(list)
        for order, route in enumerate(app.routes):
            if isinstance(route, Route):
                self._routes[_key_of(route.path)].append((order, route))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            scope.setdefault("router", self._router)
            for _, route in self._likely(scope["path"]):
                found, inner = route.matches(scope)
                if found is Match.FULL:
                    scope["route"] = route
                    scope.update(inner)
                    await route.handle(scope, receive, send)
                    return
        await self._router.app(scope, receive, send)

    def _likely(self, path: str) -> list[tuple[int, Route]]:
        parts = path.split("/")[1:]
        found: list[tuple[int, Route]] = []
        for literals in range(min(_LITERALS, len(parts)) + 1):
            first = tuple(parts[:literals])
            for number in (len(parts), 0):
                found += self._routes.get((number, first), ())
        return sorted(found, key=_order)


def _order(one: tuple[int, Any]) -> int:
    return one[0]


def _key_of(path: str) -> Key:
    parts = path.split("/")[1:]
    literals = next((n for n, part in enumerate(parts) if "{" in part), len(parts))
    return (0 if _DEEP in path else len(parts)), tuple(parts[: min(literals, _LITERALS)])
