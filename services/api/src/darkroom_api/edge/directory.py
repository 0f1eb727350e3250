"""Finds the route of a request without trying every one of them."""

from collections import defaultdict
from typing import Any, Final

from fastapi import FastAPI
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

_LITERALS: Final = 3
"""Leading parts of a path by which routes are told apart."""
_DEEP: Final = ":path}"
_MANY: Final = 32
"""Parts of a path: more than any route has."""
_KEPT: Final = 4096
"""Kinds of paths whose routes are kept in mind."""

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
        self._words: set[str] = set()
        self._found: dict[Key, list[Route]] = {}
        for order, route in enumerate(app.routes):
            if isinstance(route, Route):
                key = _key_of(route.path)
                self._routes[key].append((order, route))
                self._words |= set(key[1])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        route = self.find(scope)
        if route is None:
            await self._router.app(scope, receive, send)
        else:
            await route.handle(scope, receive, send)

    def find(self, scope: Scope) -> Route | None:
        """Return the route that takes a request, and keep it with its parameters in the scope."""
        if scope["type"] != "http":
            return None
        known: Route | None = scope.get("route")
        if known is not None:
            return known
        scope.setdefault("router", self._router)
        parts = scope["path"].split("/", _LITERALS + 1)[1 : _LITERALS + 1]
        first = tuple([part if part in self._words else "" for part in parts])
        for route in self._likely(min(scope["path"].count("/"), _MANY), first):
            found, inner = route.matches(scope)
            if found is Match.FULL:
                scope["route"] = route
                scope.update(inner)
                return route
        return None

    def _likely(self, number: int, first: tuple[str, ...]) -> list[Route]:
        """Return the routes of so many parts, the first of which are these words, or others."""
        key = number, first
        if key not in self._found:
            if len(self._found) >= _KEPT:
                self._found.clear()
            found: list[tuple[int, Route]] = []
            for literals in range(len(first) + 1):
                for parts in (number, 0):
                    found += self._routes.get((parts, first[:literals]), ())
            self._found[key] = [route for _, route in sorted(found, key=_order)]
        return self._found[key]


def _order(one: tuple[int, Any]) -> int:
    return one[0]


def _key_of(path: str) -> Key:
    parts = path.split("/")[1:]
    literals = next((n for n, part in enumerate(parts) if "{" in part), len(parts))
    return (0 if _DEEP in path else len(parts)), tuple(parts[: min(literals, _LITERALS)])
