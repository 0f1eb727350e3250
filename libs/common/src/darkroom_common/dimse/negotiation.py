"""Negotiates associations as acceptor, by pynetdicom's PDU classes (PS3.8 section 9.3, annex D).

This is all that receiving uses of pynetdicom: it is right about the many optional items, and it is
used once an association. See docs/adr/0008.
"""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from darkroom_common.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from darkroom_common.dimse.wire.pdu import AbortReason, PduKind, ProtocolError

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
_FIXED: Final = 68  # bytes of the body before the variable items
_CALLED: Final = slice(10, 26)
_CALLING: Final = slice(26, 42)
_NO_AE_CHARACTER: Final = re.compile(rb"[^ -\[\]-~]")
_ITEM: Final = struct.Struct(">BxH")
_PRESENTATION_CONTEXT: Final = 0x20
_CONTEXT_FIELDS: Final = 4
_MOST_CONTEXTS: Final = 128  # odd ids of one byte, PS3.8 section 9.3.2.2
_MOST_ITEMS: Final = 128 * 100


@dataclass(frozen=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21), and a word for the log."""

    result: int
    source: int
    reason: int
    word: str

    def encode(self) -> bytes:
        """Return the PDU."""
        return struct.pack(
            ">BxLxBBB", PduKind.ASSOCIATE_RJ, 4, self.result, self.source, self.reason
        )


CALLING_AE_UNKNOWN: Final = Rejection(1, 1, 3, "calling-ae-title")
CALLED_AE_UNKNOWN: Final = Rejection(1, 1, 7, "called-ae-title")
CONGESTION: Final = Rejection(2, 3, 1, "congestion")
LIMIT_REACHED: Final = Rejection(2, 3, 2, "limit")
HOST_LIMIT_REACHED: Final = Rejection(2, 3, 2, "limit-of-host")
AE_LIMIT_REACHED: Final = Rejection(2, 3, 2, "limit-of-ae")


@dataclass(frozen=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


class AssociationRequest:
    """An A-ASSOCIATE-RQ. Its AE titles are as they were sent, without padding.

    Raises:
        ProtocolError: it cannot be read.
    """

    def __init__(self, pdu: bytes) -> None:
        _check_counts(pdu[6:])
        self.called_ae_title = _ae_title(pdu[_CALLED])
        self.calling_ae_title = _ae_title(pdu[_CALLING])
        decoded = A_ASSOCIATE_RQ()
        try:
            decoded.decode(_with_clean_titles(pdu))
            self._primitive: Any = decoded.to_primitive()
            self.max_length = int(self._primitive.maximum_length_received or 0)
            self.abstract_syntaxes = frozenset(
                str(context.abstract_syntax) for context in self._contexts()
            )
        except Exception as error:  # the decoder has no error class of its own
            raise ProtocolError("bad-request", AbortReason.INVALID_PARAMETER) from error

    def _contexts(self) -> list[PresentationContext]:
        found: list[PresentationContext] = self._primitive.presentation_context_definition_list
        return found

    def negotiate(self, supported: "Supported") -> tuple[dict[int, Context], bytes]:
        """Return (accepted contexts by id, the A-ASSOCIATE-AC that says so).

        Raises:
            ProtocolError: the request is contradictory.
        """
        primitive = self._primitive
        roles: Any = {
            item.sop_class_uid: (item.scu_role, item.scp_role)
            for item in primitive.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
        }
        try:
            results, replies = negotiate_as_acceptor(self._contexts(), supported.contexts, roles)
            primitive.application_context_name = APPLICATION_CONTEXT
            primitive.presentation_context_definition_results_list = results
            primitive.user_information = [*_who_we_are(supported.max_length), *replies]
            answer: bytes = A_ASSOCIATE_AC(primitive).encode()
        except Exception as error:  # the encoder has no error class of its own
            raise ProtocolError("bad-request", AbortReason.INVALID_PARAMETER) from error
        accepted = {
            int(context.context_id or 0): Context(
                str(context.abstract_syntax), str(context.transfer_syntax[0])
            )
            for context in results
            if context.result == 0
        }
        return accepted, answer


class Supported:
    """What an acceptor offers.

    Args:
        contexts: abstract syntax to its transfer syntaxes, the preferred one first.
        max_length: the longest P-DATA-TF that it takes.
    """

    def __init__(self, contexts: Iterable[tuple[str, Iterable[str]]], max_length: int) -> None:
        self.contexts = [build_context(uid, list(syntaxes)) for uid, syntaxes in contexts]
        self.max_length = max_length


def _who_we_are(max_length: int) -> list[Any]:
    length = MaximumLengthNotification()
    length.maximum_length_received = max_length
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, implementation, version]


def _ae_title(field: bytes) -> str:
    """Return a title without padding; some senders pad with NUL (PS3.8 table 9-11)."""
    return field.decode("latin-1").strip(" \x00")


def _with_clean_titles(pdu: bytes) -> bytes:
    """Return the request with titles that the decoder takes.

    It drops what is not ASCII and strips control characters, so that a title could pass for
    another one, and it refuses other requests where a rejection is the answer.
    """
    titles = _NO_AE_CHARACTER.sub(b"?", pdu[_CALLED].strip(b" \x00") or b"?").ljust(16)
    titles += _NO_AE_CHARACTER.sub(b"?", pdu[_CALLING].strip(b" \x00") or b"?").ljust(16)
    return pdu[: _CALLED.start] + titles + pdu[_CALLING.stop :]


def _check_counts(body: bytes) -> None:
    """Refuse a request that would cost the decoder far more than its size."""
    contexts = items = 0
    at = _FIXED
    while at < len(body):
        kind, length = _item(body, at)
        items += 1
        if kind == _PRESENTATION_CONTEXT:
            contexts += 1
            inner, end = at + _ITEM.size + _CONTEXT_FIELDS, at + _ITEM.size + length
            while inner < end and items <= _MOST_ITEMS:
                items += 1
                inner += _ITEM.size + _item(body, inner)[1]
        if contexts > _MOST_CONTEXTS or items > _MOST_ITEMS:
            raise ProtocolError("too-many-items", AbortReason.INVALID_PARAMETER)
        at += _ITEM.size + length
    if at != len(body):
        raise ProtocolError("bad-request", AbortReason.INVALID_PARAMETER)


def _item(body: bytes, at: int) -> tuple[int, int]:
    if at + _ITEM.size > len(body):
        raise ProtocolError("bad-request", AbortReason.INVALID_PARAMETER)
    kind, length = _ITEM.unpack_from(body, at)
    return int(kind), int(length)
