"""The AMQP 0-9-1 frames of one message that is published, encoded at once.

Publishing is on the way of every object. pamqp builds an object for each frame and looks up each
property; here the frames of a message are made by a few joins. pamqp reads them back in the tests.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from darkroom_common.errors import PermanentError

_METHOD: Final = 1
_HEADER: Final = 2
_BODY: Final = 3
_FRAME_END: Final = b"\xce"
_FRAME_HEAD: Final = struct.Struct(">BHL")
_BASIC: Final = 60  # the class
_PUBLISH: Final = 40  # its method
_MANDATORY: Final = 1
_PERSISTENT: Final = 2
_CONTENT: Final = struct.Struct(">HHQH")
_TIMESTAMP: Final = struct.Struct(">Q")
# Which properties follow, section 4.2.6.1: content type, headers, delivery mode, message id,
# timestamp, type, application id.
_FLAGS: Final = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 5 | 1 << 3
_JSON: Final = b"\x10application/json"
_SHORT_LIMIT: Final = 255
FRAME_OVERHEAD: Final = 8
"""Bytes of a frame beside what it carries."""


@dataclass(frozen=True)
class Outgoing:
    """A persistent JSON message, ready to be sent."""

    message_id: str
    type: str
    exchange: str
    routing_key: str
    mandatory: bool
    timestamp: int
    """Seconds since 1970."""
    headers: Mapping[str, str]
    body: bytes


def encode(outgoing: Outgoing, *, channel: int, app_id: str, frame_max: int) -> bytes:
    """Return Basic.Publish, the content header and the body as frames.

    Args:
        outgoing: the message.
        channel: the channel's number.
        app_id: who publishes.
        frame_max: bytes of the longest frame that was negotiated.

    Raises:
        PermanentError: a name is longer than AMQP can say.
    """
    properties = b"".join(
        (
            _JSON,
            _table(outgoing.headers),
            bytes((_PERSISTENT,)),
            _short(outgoing.message_id),
            _TIMESTAMP.pack(outgoing.timestamp),
            _short(outgoing.type),
            _short(app_id),
        )
    )
    head = _CONTENT.pack(_BASIC, 0, len(outgoing.body), _FLAGS) + properties
    method = _method(channel, outgoing.exchange, outgoing.routing_key, outgoing.mandatory)
    room = frame_max - FRAME_OVERHEAD
    pieces = (outgoing.body[at : at + room] for at in range(0, len(outgoing.body), room))
    return b"".join(
        (method, _frame(_HEADER, channel, head), *(_frame(_BODY, channel, p) for p in pieces))
    )


@lru_cache(maxsize=256)
def _method(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    arguments = struct.pack(">HHH", _BASIC, _PUBLISH, 0) + _short(exchange) + _short(routing_key)
    return _frame(_METHOD, channel, arguments + bytes((_MANDATORY if mandatory else 0,)))


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME_HEAD.pack(kind, channel, len(payload)) + payload + _FRAME_END


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > _SHORT_LIMIT:
        raise PermanentError("a short string of AMQP has 255 bytes at most")
    return bytes((len(raw),)) + raw


def _table(headers: Mapping[str, str]) -> bytes:
    fields = []
    for name, value in headers.items():
        raw = value.encode()
        fields += [_short(name), b"S", struct.pack(">L", len(raw)), raw]
    table = b"".join(fields)
    return struct.pack(">L", len(table)) + table
