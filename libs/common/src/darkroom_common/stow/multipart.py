"""Reads `multipart/related` as its bytes arrive (RFC 2046 section 5.1), without I/O.

Memory holds the head of one part, and of its content what might be the beginning of a delimiter.
"""

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from darkroom_common.errors import PermanentError

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=?# ]{0,199}[0-9A-Za-z'()+_,\-./:=?#]")
_CRLF: Final = b"\r\n"
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*:[ \t]*([^\r\n\0]*)", re.DOTALL)
_PADDING: Final = 256
"""Blanks that may stand behind a boundary in its line."""
_ENDS: Final = b"--"


class MalformedMultipart(PermanentError):
    """What came is no multipart, or is over a limit. `code` is one of a closed list."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class PartLimits:
    """Bounds on what is no content.

    Attributes:
        parts: of one body.
        head: bytes of the fields of a part.
        fields: of a part.
        preamble: bytes before the first part.
    """

    parts: int = 10_000
    head: int = 16 * 1024
    fields: int = 50
    preamble: int = 64 * 1024


DEFAULT_PART_LIMITS: Final = PartLimits()


@dataclass(frozen=True)
class PartBegins:
    """A part begins; names of fields are in lower case."""

    fields: Mapping[str, str]


@dataclass(frozen=True)
class PartEnds:
    """The content of a part has come whole."""


Event = PartBegins | memoryview | PartEnds
Reading = Generator[Event, None, int | None]
"""Yields events, and returns where to go on in the buffer; None when more has to come."""


class Multipart:
    """Takes bytes, and gives parts: `feed` them in order, then `finish`.

    Raises:
        MalformedMultipart: `boundary`, it can separate nothing.
    """

    def __init__(self, boundary: str, limits: PartLimits = DEFAULT_PART_LIMITS) -> None:
        if _BOUNDARY.fullmatch(boundary) is None:
            raise MalformedMultipart("boundary")
        self._limits = limits
        self._delimiter = _CRLF + _ENDS + boundary.encode("ascii")
        # The first delimiter may begin the body: as if a line had ended before it.
        self._rest = _CRLF
        self._unsaid = len(_CRLF)
        self._step: Callable[[bytes, int], Reading] | None = self._content
        self._inside = False
        self._parts = 0
        self._before = 0

    @property
    def ended(self) -> bool:
        """Whether the last delimiter has come: what follows is passed over."""
        return self._step is None

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take the next bytes and yield what they bring; the views are good until the next call.

        Raises:
            MalformedMultipart: nothing that follows can be believed.
        """
        buffer, self._rest = self._rest + data, b""
        at: int | None = 0
        while at is not None and self._step is not None:
            at = yield from self._step(buffer, at)

    def finish(self) -> None:
        """Hear that nothing more comes.

        Raises:
            MalformedMultipart: `unterminated`, the last delimiter has not come.
        """
        if not self.ended:
            raise MalformedMultipart("unterminated")

    def _content(self, buffer: bytes, at: int) -> Reading:
        """Pass on content up to a delimiter, or as much as cannot be one."""
        found = buffer.find(self._delimiter, at)
        if found < 0:
            held = min(len(buffer) - at, len(self._delimiter) - 1)
            kept = buffer.rfind(b"\r", len(buffer) - held) if held else -1
            end = len(buffer) if kept < 0 else kept
            yield from self._given(buffer, at, end)
            self._rest = buffer[end:]
            return None
        after = found + len(self._delimiter)
        line = self._line_end(buffer, after)
        if line is None:  # it takes more bytes to tell
            yield from self._given(buffer, at, found)
            self._rest = buffer[found:]
            return None
        if line < 0:  # it only begins like one
            yield from self._given(buffer, at, after)
            return after
        yield from self._given(buffer, at, found)
        if self._inside:
            yield PartEnds()
        self._inside = False
        if buffer.startswith(_ENDS, after):
            self._step = None
            return None
        self._parts += 1
        if self._parts > self._limits.parts:
            raise MalformedMultipart("many-parts")
        self._step = self._head
        return line

    @staticmethod
    def _line_end(buffer: bytes, after: int) -> int | None:
        """Return where the line of a delimiter ends; -1 when it is none; None: not yet known."""
        if len(buffer) - after < len(_ENDS):
            return None
        if buffer.startswith(_ENDS, after):
            return after
        at = after
        while at < len(buffer) and buffer[at] in b" \t":
            at += 1
        if at - after > _PADDING:
            return -1
        if len(buffer) - at < len(_CRLF):
            return None if _CRLF.startswith(buffer[at:]) else -1
        return at + len(_CRLF) if buffer.startswith(_CRLF, at) else -1

    def _given(self, buffer: bytes, at: int, end: int) -> Iterator[memoryview]:
        passed = min(self._unsaid, end - at)
        self._unsaid -= passed
        at += passed
        if self._inside:
            if end > at:
                yield memoryview(buffer)[at:end]
            return
        self._before += end - at
        if self._before > self._limits.preamble:
            raise MalformedMultipart("preamble")

    def _head(self, buffer: bytes, at: int) -> Reading:
        """Read the fields of a part, up to an empty line, which may come at once."""
        limit = at + self._limits.head
        if buffer.startswith(_CRLF, at):
            end = at
        else:
            end = buffer.find(_CRLF + _CRLF, at, limit + 2 * len(_CRLF))
            if end < 0:
                if len(buffer) > limit:
                    raise MalformedMultipart("long-head")
                self._rest = buffer[at:]
                return None
            end += len(_CRLF)
        yield PartBegins(self._fields(buffer[at:end]))
        self._inside, self._step = True, self._content
        self._unsaid = len(_CRLF)  # the line that has ended may belong to the next delimiter
        return end

    def _fields(self, head: bytes) -> dict[str, str]:
        lines = re.sub(rb"\r\n[ \t]+", b" ", head).split(_CRLF)[:-1]
        if len(lines) > self._limits.fields:
            raise MalformedMultipart("many-fields")
        found: dict[str, str] = {}
        for line in lines:
            field = _FIELD.fullmatch(line)
            if field is None:
                raise MalformedMultipart("field")
            name = field[1].decode("ascii").lower()
            found.setdefault(name, field[2].strip().decode("latin-1"))
        return found
