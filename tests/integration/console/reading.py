"""Pages as they are written: what they say, what they lead to, and what they offer to whom."""

import re
from functools import cache
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlsplit

from darkroom_api.accounts.access import ACCESS
from darkroom_api.accounts.permissions import Access, allows

_VOID: Final = frozenset(
    {"area", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
_ENDS_TURNS: Final = frozenset({"bdi", "option", "textarea", "script", "style"})
_LEADS: Final = {
    **dict.fromkeys(("href", "hx-get", "action", "data-goes"), "GET"),
    "hx-post": "POST",
}
"""Attributes with a path, and how it is asked for."""


@cache
def _routes() -> list[tuple[str, re.Pattern[str], Access]]:
    """The routes, those that name most first."""
    found = [
        (method, re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", _any_path(path))), access)
        for (method, path), access in ACCESS.items()
    ]
    return sorted(found, key=lambda one: one[1].pattern.count("[^/]+"))


def _any_path(path: str) -> str:
    return re.sub(r"\\\{\w+:path\\\}", ".*", re.escape(path).replace(r"\:", ":"))


def needed(method: str, path: str) -> Access | None:
    """Return what a path needs; None where no route is."""
    return next(
        (access for of, route, access in _routes() if of == method and route.fullmatch(path)), None
    )


class Seen(HTMLParser):
    """A page without a browser.

    Attributes:
        heading: of the first level.
        turned: texts that turn what follows, without an end of it.
        strange: elements that only markup in a name can have made.
        leads: methods and paths of what can be clicked, or is asked for by itself.
        opens: ids of dialogs that buttons open.
        dialogs: ids of dialogs that there are.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.heading = ""
        self.turned: list[str] = []
        self.strange: list[str] = []
        self.leads: set[tuple[str, str]] = set()
        self.opens: set[str] = set()
        self.dialogs: set[str] = set()
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "img" and given.get("src") == "x":
            self.strange.append(tag)
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "dialog":
            self.dialogs.add(given["id"])
        if "data-opens" in given:
            self.opens.add(given["data-opens"])
        for name, method in _LEADS.items():
            path = urlsplit(given.get(name, "")).path
            if path:
                self.leads.add((method, path))

    def handle_endtag(self, tag: str) -> None:
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "h1" in self._open:
            self.heading += data
        if "\u202e" in data and "body" in self._open and not _ENDS_TURNS & {*self._open}:
            self.turned.append(data)

    def offered_in_vain(self, rights: frozenset[str]) -> list[str]:
        """Return what somebody with some permissions may not do, or leads nowhere."""
        found = [
            f"{method} {path}"
            for method, path in sorted(self.leads)
            if (access := needed(method, path)) is None or not allows(access, rights)
        ]
        return found + sorted(self.opens - self.dialogs)
