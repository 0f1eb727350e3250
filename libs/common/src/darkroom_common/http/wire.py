"""Requests of HTTP/1.1 as bytes, by RFC 9112 and without I/O.

What is not plainly one request is refused: of two readings of a message the wrong one is somebody's
way past a proxy. No line ends in a bare LF, no field is folded, a length is given once and in one
way, and HTTP/1.1 names exactly one host.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import unquote

from darkroom_common.http.limits import Limits

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(
    rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])", re.DOTALL
)
_NAME: Final = re.compile(_TOKEN)
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*", re.DOTALL)
_NO_TEXT: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HOST: Final = re.compile(
    rb"(?:[A-Za-z0-9\-._~%]+|\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9\-._~]+)?\])(?::[0-9]{0,5})?"
)
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?", re.DOTALL)
_END: Final = b"\r\n\r\n"
_LINE: Final = b"\r\n"
_BEFORE: Final = 4
"""Bytes of empty lines that may come before a request line (section 2.2)."""
_METHOD: Final = 32


class BadRequest(Exception):
    """What came is refused, and nothing more of the connection is read.

    Attributes:
        status: of the answer.
        reason: a word for logs and metrics; it holds nothing of what came.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Head:
    """A request line with its fields.

    Attributes:
        method: in capitals, as it came.
        path: decoded.
        raw_path: as it came, without the query.
        query: as it came, without the question mark.
        fields: names in lower case, in their order.
        version: "1.0" or "1.1".
        persistent: whether the connection may carry another request.
        wants_continue: whether the client waits for a 100 before it sends the body.
    """

    method: str
    path: str
    raw_path: bytes
    query: bytes
    fields: list[tuple[bytes, bytes]]
    version: str
    persistent: bool
    wants_continue: bool


class Mark(Enum):
    """What a reader tells beside heads and bodies."""

    END = "the request has come whole"


Event = Head | bytes | Mark


class Reader:
    """Takes bytes as they come, and gives heads, parts of bodies and ends of requests."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._looked_at = 0
        self._left = 0
        self._extra = 0
        self._step: Callable[[], Event | None] = self._head

    @property
    def waiting(self) -> int:
        """Bytes that came and were not given yet."""
        return len(self._buffer)

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes."""
        self._buffer += data

    def next(self) -> Event | None:
        """Return what comes next; None until more bytes have come.

        Raises:
            BadRequest: nothing that follows can be believed.
        """
        return self._step()

    def switch(self) -> None:
        """Give all that follows as it comes: it is of another protocol (RFC 9110 section 7.8)."""
        self._step = self._switched

    def _switched(self) -> bytes | None:
        data = bytes(self._buffer)
        self._buffer.clear()
        return data or None

    def _head(self) -> Head | None:
        limits, buffer = self._limits, self._buffer
        self._pass_empty_lines()
        new = max(0, self._looked_at - len(_END))
        if _NO_TEXT.search(buffer, new, min(len(buffer), limits.head_bytes)) is not None:
            end = buffer.find(_END, new)  # beyond the head there may be a body
            if end < 0 or _NO_TEXT.search(buffer, new, end) is not None:
                raise BadRequest(400, "control-character")
        end = buffer.find(_END, new, limits.head_bytes + len(_END))
        if end < 0:
            line = buffer.find(_LINE, 0, limits.line_bytes + len(_LINE))
            if line < 0 and len(buffer) >= limits.line_bytes + len(_LINE):
                raise BadRequest(414, "long-request-line")
            if len(buffer) >= limits.head_bytes + len(_END):
                raise BadRequest(431, "long-head")
            if buffer.count(_LINE) > limits.fields + 1:
                raise BadRequest(431, "many-fields")
            self._looked_at = len(buffer)
            return None
        lines = bytes(buffer[:end]).split(_LINE)
        del buffer[: end + len(_END)]
        self._looked_at = 0
        return self._read(lines)

    def _pass_empty_lines(self) -> None:
        while self._buffer.startswith(_LINE):
            self._extra += len(_LINE)
            if self._extra > _BEFORE:
                raise BadRequest(400, "request-line")
            del self._buffer[: len(_LINE)]
            self._looked_at = 0

    def _read(self, lines: list[bytes]) -> Head:
        limits = self._limits
        if len(lines[0]) > limits.line_bytes:
            raise BadRequest(414, "long-request-line")
        if len(lines) > limits.fields + 1:
            raise BadRequest(431, "many-fields")
        line = _REQUEST_LINE.fullmatch(lines[0])
        if line is None or len(line[1]) > _METHOD:
            raise BadRequest(400, "request-line")
        if line[3] != b"1":
            raise BadRequest(505, "version")
        version = "1.0" if line[4] == b"0" else "1.1"
        fields = [_field(one) for one in lines[1:]]
        target = _target(line[1], line[2], fields)
        _require_host(fields, version)
        self._frame(fields, version)
        raw_path, _, query = target.partition(b"?")
        if _BAD_ESCAPE.search(raw_path) is not None:
            raise BadRequest(400, "request-target")
        options = _tokens(fields, b"connection")
        expected = _tokens(fields, b"expect")
        if expected not in ([], [b"100-continue"]):
            raise BadRequest(417, "expectation")
        return Head(
            line[1].decode("ascii"),
            unquote(raw_path.decode("ascii")),
            raw_path,
            query,
            fields,
            version,
            persistent=version == "1.1" and b"close" not in options,
            wants_continue=bool(expected) and version == "1.1",
        )

    def _frame(self, fields: list[tuple[bytes, bytes]], version: str) -> None:
        """Choose how the body is read (section 6.3)."""
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value for name, value in fields if name == b"transfer-encoding"]
        if codings:
            if version == "1.0" or lengths:
                raise BadRequest(400, "framing")
            named = _tokens(fields, b"transfer-encoding")
            if named != [b"chunked"]:
                known = named[-1:] == [b"chunked"] and b"chunked" not in named[:-1]
                raise BadRequest(501 if known else 400, "transfer-coding")
            self._extra, self._step = 0, self._chunk
        elif lengths:
            if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
                raise BadRequest(400, "content-length")
            self._left, self._step = int(lengths[0]), self._counted
        else:
            self._step = self._ended

    def _ended(self) -> Mark:
        self._extra, self._step = 0, self._head
        return Mark.END

    def _counted(self) -> Event | None:
        if self._left == 0:
            return self._ended()
        return self._part()

    def _part(self) -> bytes | None:
        if not self._buffer:
            return None
        part = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(part)
        return part

    def _line(self) -> bytes | None:
        """Return a line of the chunked coding without its end."""
        most = self._limits.chunk_line_bytes
        end = self._buffer.find(_LINE, 0, most + len(_LINE))
        if end < 0:
            if len(self._buffer) >= most + len(_LINE):
                raise BadRequest(400, "chunk")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + len(_LINE)]
        return line

    def _chunk(self) -> Event | None:
        line = self._line()
        if line is None:
            return None
        chunk = _CHUNK.fullmatch(line)
        if chunk is None:
            raise BadRequest(400, "chunk")
        self._left = int(chunk[1], 16)
        self._spend(len(line) - max(1, len(chunk[1].lstrip(b"0"))))
        self._step = self._chunk_data if self._left else self._trailer
        return self._step()

    def _chunk_data(self) -> Event | None:
        if self._left:
            return self._part()
        if len(self._buffer) < len(_LINE):
            return None
        if not self._buffer.startswith(_LINE):
            raise BadRequest(400, "chunk")
        del self._buffer[: len(_LINE)]
        self._step = self._chunk
        return self._chunk()

    def _trailer(self) -> Event | None:
        """Pass over trailers: nothing of ours asks for one (section 7.1.2)."""
        while (line := self._line()) is not None:
            if not line:
                return self._ended()
            _field(line)
            self._spend(len(line) + len(_LINE))
        return None

    def _spend(self, extra: int) -> None:
        self._extra += extra
        if self._extra > self._limits.extra_bytes:
            raise BadRequest(400, "chunk")


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    value = value.strip(b" \t")
    # No name: without a colon, with a space before it, or folded (sections 5.1 and 5.2).
    if len(name) == len(line) or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadRequest(400, "field")
    return name.lower(), value


def _tokens(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    values = [value for known, value in fields if known == name]
    return [token for value in values for part in value.split(b",") if (token := _lower(part))]


def _lower(text: bytes) -> bytes:
    return text.strip(b" \t").lower()


def _target(method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    """Return path and query of a request target (section 3.2).

    An absolute one also says the host, whatever the field says.
    """
    if target.startswith(b"/") and b"#" not in target:
        return target
    if target == b"*" and method == b"OPTIONS":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or b"#" in target or _HOST.fullmatch(absolute[1]) is None:
        raise BadRequest(400, "request-target")
    if sum(name == b"host" for name, _ in fields) == 1:
        at = next(n for n, (name, _) in enumerate(fields) if name == b"host")
        fields[at] = (b"host", absolute[1])
    rest = absolute[2]
    return rest if rest.startswith(b"/") else b"/" + rest


def _require_host(fields: list[tuple[bytes, bytes]], version: str) -> None:
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise BadRequest(400, "host")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise BadRequest(400, "host")
