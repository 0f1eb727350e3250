"""What a client accepts: media ranges with parameters, PS3.18 section 8.7.

`multipart/related; type="application/dicom"; transfer-syntax=*; q=0.5` is one range: the type of
the parts counts, the multipart around them is how several are sent.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from starlette.requests import Request

MULTIPART: Final = "multipart/related"
MAX_RANGES: Final = 64
_USUAL: Final = 512
"""Characters that are parsed once: a client sends the same with each request."""
_SYNTAX: Final = re.compile(r"transfer-syntax=([0-9.*]+)")
_QUALITY: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{0,30})?|\.[0-9]{1,30}")


@dataclass(frozen=True)
class MediaRange:
    """One acceptable form.

    Attributes:
        kind: of the answer: `multipart/related`, `application/dicom`, `*/*`, ...
        part: of the parts, for `multipart/related`; empty when it is not said.
        transfer_syntax: a UID, `*`, or None when it is not said.
        quality: 0 to 1; 0 is never acceptable.
        without: what the client wants less, or not at all, of all that this range would take.
    """

    kind: str
    part: str = ""
    transfer_syntax: str | None = None
    quality: float = 1.0
    without: tuple["MediaRange", ...] = ()

    @property
    def is_any(self) -> bool:
        """Whether it leaves the media type of the parts, or of the whole, to the server."""
        multipart = self.kind in (MULTIPART, "multipart/*")
        return self.kind == "*/*" or (multipart and self.part in ("", "*/*"))

    def takes(self, kind: str) -> bool:
        """Tell whether this range takes a single part of a media type."""
        return (
            self.quality > 0
            and _covers(self.kind, kind)
            and not any(_covers(one.kind, kind) for one in self.without)
        )

    def takes_parts(self, part: str) -> bool:
        """Tell whether this range takes a multipart answer with parts of a media type."""
        if self.quality <= 0 or not _covers(self.kind, MULTIPART):
            return False
        for one in self.without:
            if _covers(one.kind, MULTIPART) and (not one.part or _covers(one.part, part)):
                return False
        return self.kind != MULTIPART or not self.part or _covers(self.part, part)

    def takes_syntax(self, *uids: str) -> bool:
        """Tell whether any of these transfer syntaxes suits; one not said takes every one."""
        return self.transfer_syntax in (None, "*") or self.transfer_syntax in uids


def _covers(pattern: str, kind: str) -> bool:
    return pattern in ("*/*", kind) or (
        pattern.endswith("/*") and kind.startswith(pattern.removesuffix("*"))
    )


def parse_accept(headers: Sequence[str], parameter: Sequence[str] = ()) -> list[MediaRange]:
    """Return the acceptable forms, best first; what is malformed is not acceptable.

    Args:
        headers: the values of Accept.
        parameter: those of the query parameter `accept`, which stands in for it.
    """
    ranges: list[MediaRange] = []
    for text in [*parameter, *headers]:
        for part in _split(text, ","):
            found = _range(part)
            if found is not None and len(ranges) < MAX_RANGES:
                ranges.append(found)
        if parameter and ranges:
            break
    if not any(text.strip() for text in [*parameter, *headers]):
        ranges = [MediaRange("*/*")]
    plain = [one for one in ranges if not one.transfer_syntax]
    return sorted((_without(one, plain) for one in ranges), key=lambda one: -one.quality)


def _without(one: MediaRange, others: Iterable[MediaRange]) -> MediaRange:
    """Return a range without what a more specific one likes less (RFC 9110 section 12.5.1)."""
    more = tuple(
        other
        for other in others
        if other.quality < one.quality and _specificity(other) > _specificity(one)
    )
    return replace(one, without=more) if more else one


def _specificity(one: MediaRange) -> tuple[int, bool]:
    return 2 - one.kind.count("*"), bool(one.part)


def accepted(request: Request) -> list[MediaRange]:
    """Return the forms that the client accepts, best first."""
    headers = tuple(request.headers.getlist("accept"))
    parameter: tuple[str, ...] = ()
    if request.scope["query_string"]:
        parameter = tuple(request.query_params.getlist("accept"))
    if sum(map(len, headers + parameter)) > _USUAL:
        return parse_accept(headers, parameter)
    return list(_usual(headers, parameter))


@lru_cache(maxsize=256)
def _usual(headers: tuple[str, ...], parameter: tuple[str, ...]) -> Sequence[MediaRange]:
    return parse_accept(headers, parameter)


def _split(text: str, separator: str) -> Iterable[str]:
    """Split outside of quotes."""
    part, quoted = "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        if character == separator and not quoted:
            yield part.strip()
            part = ""
        else:
            part += character
    yield part.strip()


def _range(text: str) -> MediaRange | None:
    kind, *rest = _split(text, ";")
    kind = kind.strip().lower()
    if kind == "*":
        kind = "*/*"  # as Java sends it
    if kind.count("/") != 1:
        return None
    part, syntax, quality = "", None, 1.0
    for parameter in rest:
        name, _, value = parameter.partition("=")
        value = value.strip().strip("\"'")
        match name.strip().lower():
            case "type":
                part, _, more = value.lower().partition(";")  # as some clients quote all of it
                part, said = part.strip(), _SYNTAX.search(more)
                syntax = said[1] if said and syntax is None else syntax
            case "transfer-syntax":
                syntax = value or None
            case "q":
                if _QUALITY.fullmatch(value) is None:
                    return None
                quality = min(float(value), 1.0)
            case _:
                pass
    return MediaRange(kind, part, syntax, quality)
