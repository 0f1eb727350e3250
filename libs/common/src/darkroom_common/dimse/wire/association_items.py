"""A-ASSOCIATE-RQ, -AC and -RJ with their items, without I/O (PS3.8 section 9.3, PS3.7 annex D).

Nothing that comes is believed: lengths and counts are bounded. Items that are not known, or that
ask for nothing here (user identity), are passed over, as both standards want;
so are proposals of roles and of operations at a time that cannot be read. What is wrong with one
context is its own: it is refused, and the others are not.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from darkroom_common.dimse.wire.pdu import AbortReason, PduKind, ProtocolError

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
MOST_CONTEXTS: Final = 128
"""Odd ids of one byte, PS3.8 section 9.3.2.2."""
ACCEPTED: Final = 0
USER_REJECTION: Final = 1
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4

_FIXED: Final = 68  # bytes of the body before the variable items
_CALLED: Final = slice(4, 20)
_CALLING: Final = slice(20, 36)
_ITEM: Final = struct.Struct(">BxH")
_CONTEXT_FIELDS: Final = 4
_MOST_ITEMS: Final = MOST_CONTEXTS * 100
_LENGTH: Final = struct.Struct(">L")
_SHORT: Final = struct.Struct(">H")
_WINDOW: Final = struct.Struct(">HH")

_APPLICATION_CONTEXT: Final = 0x10
_OFFERED_CONTEXT: Final = 0x20
_ANSWERED_CONTEXT: Final = 0x21
_ABSTRACT_SYNTAX: Final = 0x30
_TRANSFER_SYNTAX: Final = 0x40
_USER_INFORMATION: Final = 0x50
_MAXIMUM_LENGTH: Final = 0x51
_IMPLEMENTATION_CLASS: Final = 0x52
_ASYNCHRONOUS_WINDOW: Final = 0x53
_ROLE: Final = 0x54
_IMPLEMENTATION_VERSION: Final = 0x55
_EXTENDED: Final = 0x56


@dataclass(frozen=True)
class Context:
    """An accepted presentation context.

    Attributes:
        requestor_serves: whoever has opened the association is an SCP of it, as for a C-GET.
    """

    abstract_syntax: str
    transfer_syntax: str
    requestor_serves: bool = False


@dataclass(frozen=True)
class Role:
    """What a requestor may be for a SOP class (PS3.7 section D.3.3.4)."""

    scu: bool = True
    scp: bool = False


@dataclass(frozen=True)
class Proposal:
    """A presentation context that is offered.

    Attributes:
        as_scp: the requestor wants to serve this SOP class, as a C-GET needs it.
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    as_scp: bool = False


@dataclass(frozen=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21), and a word for the log."""

    result: int
    source: int
    reason: int
    word: str = ""

    def encode(self) -> bytes:
        """Return the PDU."""
        return struct.pack(
            ">BxLxBBB", PduKind.ASSOCIATE_RJ, 4, self.result, self.source, self.reason
        )

    @property
    def is_transient(self) -> bool:
        """Whether it may be otherwise later."""
        return self.result == 2  # noqa: PLR2004 - the other value is 1


@dataclass(frozen=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ. Its AE titles are as they were sent, without padding.

    Attributes:
        contexts: what is offered, by context id.
        max_length: of the P-DATA-TF that the requestor takes; 0 means any.
        roles: proposed, by SOP class.
        window: operations (invoked, performed) at a time that it would like; None: it asks nothing.
        titles: both AE titles and 32 reserved bytes, to be sent back as they came.
        extended: what is wanted of a SOP class beyond its usual service, by its UID.
    """

    called_ae_title: str
    calling_ae_title: str
    contexts: Mapping[int, Proposal]
    max_length: int = 0
    roles: Mapping[str, Role] = field(default_factory=dict)
    window: tuple[int, int] | None = None
    titles: bytes = bytes(64)
    extended: Mapping[str, bytes] = field(default_factory=dict)
    version: int = 1
    application_context: str = APPLICATION_CONTEXT


@dataclass(frozen=True)
class AssociateAccept:
    """An A-ASSOCIATE-AC.

    Attributes:
        results: (result, transfer syntax) by context id.
        max_length: of the P-DATA-TF that the acceptor takes; 0 means any.
        roles: as the acceptor grants them.
        extended: what is agreed on of a SOP class beyond its usual service, by its UID.
    """

    results: Mapping[int, tuple[int, str]]
    max_length: int = 0
    roles: Mapping[str, Role] = field(default_factory=dict)
    extended: Mapping[str, bytes] = field(default_factory=dict)


@dataclass
class _Items:
    """Takes items apart and counts them, for each costs more than its bytes."""

    left: int = _MOST_ITEMS

    def of(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at < len(data):
            self.left -= 1
            if self.left < 0:
                raise ProtocolError("too-many-items", AbortReason.INVALID_PARAMETER)
            if at + _ITEM.size > len(data):
                raise _bad()
            kind, length = _ITEM.unpack_from(data, at)
            at += _ITEM.size
            if at + length > len(data):
                raise _bad()
            yield kind, data[at : at + length]
            at += length


def decode_associate_request(body: bytes) -> AssociateRequest:
    """Return a request; `body` is the PDU without its head.

    Raises:
        ProtocolError: it cannot be read, or has more items than any needs.
    """
    if len(body) < _FIXED:
        raise _bad()
    items = _Items()
    contexts: dict[int, Proposal] = {}
    user = _User()
    application_context = ""
    for kind, value in items.of(body[_FIXED:]):
        if kind == _OFFERED_CONTEXT:
            number, proposal = _decode_offer(items, value)
            if number in contexts or not number & 1:
                raise _bad()
            contexts[number] = proposal
        elif kind == _USER_INFORMATION:
            user.read(items, value)
        elif kind == _APPLICATION_CONTEXT:
            application_context = _uid(value)
    return AssociateRequest(
        called_ae_title=_title(body[_CALLED]),
        calling_ae_title=_title(body[_CALLING]),
        contexts=contexts,
        max_length=user.max_length,
        roles=user.roles,
        window=user.window,
        titles=body[4:_FIXED],
        extended=user.extended,
        version=_SHORT.unpack_from(body)[0],
        application_context=application_context,
    )


def _decode_offer(items: _Items, value: bytes) -> tuple[int, Proposal]:
    if len(value) < _CONTEXT_FIELDS:
        raise _bad()
    abstract = ""
    syntaxes: list[str] = []
    for kind, inner in items.of(value[_CONTEXT_FIELDS:]):
        if kind == _ABSTRACT_SYNTAX:
            abstract = _uid(inner)
        elif kind == _TRANSFER_SYNTAX:
            syntaxes.append(_uid(inner))
    return value[0], Proposal(abstract, tuple(syntaxes))


class _User:
    """The sub-items of user information that something follows from."""

    def __init__(self) -> None:
        self.max_length = 0
        self.roles: dict[str, Role] = {}
        self.window: tuple[int, int] | None = None
        self.extended: dict[str, bytes] = {}

    def read(self, items: _Items, value: bytes) -> None:
        for kind, inner in items.of(value):
            if kind == _MAXIMUM_LENGTH:
                self.max_length = _unpack(_LENGTH, inner)[0]
            elif kind == _ASYNCHRONOUS_WINDOW and len(inner) == _WINDOW.size:
                invoked, performed = _WINDOW.unpack(inner)
                self.window = invoked, performed
            elif kind == _ROLE:
                self._read_role(inner)
            elif kind == _EXTENDED and len(inner) >= _SHORT.size:
                end = _SHORT.size + _SHORT.unpack_from(inner)[0]
                self.extended[_uid(inner[_SHORT.size : end])] = inner[end:]

    def _read_role(self, value: bytes) -> None:
        size = _SHORT.unpack_from(value)[0] if len(value) >= _SHORT.size else 0
        uid, roles = value[2 : 2 + size], value[2 + size :]
        if len(roles) == 2:  # noqa: PLR2004 - a byte for each of the roles
            self.roles[_uid(uid)] = Role(scu=bool(roles[0]), scp=bool(roles[1]))


def decode_associate_accept(body: bytes) -> AssociateAccept:
    """Return an acceptance; `body` is the PDU without its head.

    Raises:
        ProtocolError: it cannot be read.
    """
    items = _Items()
    results: dict[int, tuple[int, str]] = {}
    user = _User()
    for kind, value in items.of(body[_FIXED:]):
        if kind == _ANSWERED_CONTEXT and len(value) >= _CONTEXT_FIELDS:
            inner = dict(items.of(value[_CONTEXT_FIELDS:]))
            results[value[0]] = value[2], _uid(inner.get(_TRANSFER_SYNTAX, b""))
        elif kind == _USER_INFORMATION:
            user.read(items, value)
    return AssociateAccept(results, user.max_length, user.roles, user.extended)


def decode_rejection(body: bytes) -> Rejection:
    """Return a rejection; what it does not say is 0."""
    result, source, reason = (*body[1:4], 0, 0, 0)[:3]
    return Rejection(result, source, reason)


def encode_associate_request(
    called_ae_title: str, calling_ae_title: str, contexts: Mapping[int, Proposal], max_length: int
) -> bytes:
    """Return the A-ASSOCIATE-RQ that offers these contexts."""
    offered = [
        _item(
            _OFFERED_CONTEXT,
            struct.pack(">Bxxx", number)
            + _item(_ABSTRACT_SYNTAX, proposal.abstract_syntax.encode())
            + b"".join(_item(_TRANSFER_SYNTAX, uid.encode()) for uid in proposal.transfer_syntaxes),
        )
        for number, proposal in contexts.items()
    ]
    roles = {
        one.abstract_syntax: Role(scu=False, scp=True) for one in contexts.values() if one.as_scp
    }
    titles = b"".join(
        one.encode("latin-1").ljust(16) for one in (called_ae_title, calling_ae_title)
    )
    return _encode(
        PduKind.ASSOCIATE_RQ, titles + bytes(32), offered, _user_information(max_length, roles)
    )


def encode_associate_accept(request: AssociateRequest, accept: AssociateAccept) -> bytes:
    """Return the A-ASSOCIATE-AC that answers a request. There is one operation at a time."""
    answered = [
        _item(
            _ANSWERED_CONTEXT,
            struct.pack(">BxBx", number, result) + _item(_TRANSFER_SYNTAX, syntax.encode()),
        )
        for number, (result, syntax) in accept.results.items()
    ]
    window = _WINDOW.pack(1, 1) if request.window is not None else b""
    user = _user_information(accept.max_length, accept.roles, window) + b"".join(
        _item(_EXTENDED, _SHORT.pack(len(uid)) + uid.encode() + agreed)
        for uid, agreed in accept.extended.items()
    )
    return _encode(PduKind.ASSOCIATE_AC, request.titles, answered, user)


def _user_information(max_length: int, roles: Mapping[str, Role], window: bytes = b"") -> bytes:
    return (
        _item(_MAXIMUM_LENGTH, _LENGTH.pack(max_length))
        + _item(_IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.encode())
        + (_item(_ASYNCHRONOUS_WINDOW, window) if window else b"")
        + b"".join(
            _item(_ROLE, _SHORT.pack(len(uid)) + uid.encode() + bytes((role.scu, role.scp)))
            for uid, role in roles.items()
        )
        + _item(_IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION_NAME.encode())
    )


def _encode(kind: PduKind, titles: bytes, contexts: list[bytes], user: bytes) -> bytes:
    body = (
        _SHORT.pack(1)
        + bytes(2)
        + titles
        + _item(_APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode())
        + b"".join(contexts)
        + _item(_USER_INFORMATION, user)
    )
    return struct.pack(">BxL", kind, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _unpack(form: struct.Struct, value: bytes) -> tuple[int, ...]:
    if len(value) != form.size:
        raise _bad()
    return form.unpack(value)


def _uid(value: bytes) -> str:
    """Return a UID without padding; some pad to an even length as in a data set."""
    return value.decode("latin-1").strip("\x00 ")


def _title(value: bytes) -> str:
    """Return a title without padding; some senders pad with NUL (PS3.8 table 9-11)."""
    return value.decode("latin-1").strip(" \x00")


def _bad() -> ProtocolError:
    return ProtocolError("bad-association-item", AbortReason.INVALID_PARAMETER)
