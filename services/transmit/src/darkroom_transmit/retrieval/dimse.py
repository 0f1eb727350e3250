"""C-MOVE and C-GET as SCU, in a thread (PS3.4 sections C.4.2 and C.4.3)."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.dimse.proposal import Proposal
from darkroom_common.dimse.requestor import Association, Peer, PeerFault, associate
from darkroom_common.dimse.users.find import STUDY_ROOT_FIND, Refused, context_for, find
from darkroom_common.dimse.wire.command import (
    Command,
    CommandField,
    decode_command,
    decode_elements,
    decode_short,
    encode_response,
    has_data_set,
)
from darkroom_common.dimse.wire.data_set import (
    IDENTIFIER_LIMIT,
    SYNTAXES,
    decode_data_set,
    encode_data_set,
)
from darkroom_common.dimse.wire.operations import Answer, decode_answer, encode_cancel, encode_query
from darkroom_common.dimse.wire.pdu import Fragment, ProtocolError
from darkroom_common.specs.remote import RemoteQuery
from darkroom_transmit.remote.query_keys import study_root_identifier
from darkroom_transmit.retrieval.decision import Contents, End, Order, identifiers, storage_contexts
from darkroom_transmit.retrieval.forwarding import Forwarder

STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_TICK: Final = 0.5
_COMMAND_FIELD: Final = 0x0100
_COMMAND_LIMIT: Final = 1 << 16
_CANCEL_SECONDS: Final = 30.0
_LOCATE_SECONDS: Final = 120.0
_MOST: Final = 20_000
"""Series, or instances of a series, that are looked through."""


@dataclass(eq=False)
class Handle:
    """What others see of a retrieval that runs, and how they end it."""

    stop: threading.Event = field(default_factory=threading.Event)
    remaining: int | None = None
    completed: int = 0
    failed: int = 0
    warned: int = 0
    association: Association | None = None

    def interrupt(self) -> None:
        """Make the thread that waits for the peer stop."""
        association = self.association
        if association is not None:
            association.interrupt()


@dataclass(frozen=True)
class Way:
    """How to retrieve.

    Attributes:
        silence: seconds without a word in which a node may be busy with its sub-operations.
        destination: AE title to which a C-MOVE sends.
        forwarder: makes where the objects of a C-GET go.
    """

    silence: float
    destination: str
    forwarder: Callable[[], Forwarder]


def retrieve(peer: Peer, order: Order, way: Way, handle: Handle) -> End:
    """Retrieve; see `Handle` for how it goes on. It blocks.

    Raises:
        Refused: the node cannot be asked where the instances are.
        PeerFault: it is not known what has arrived.
    """
    contents = Contents()
    if order.method == "get" or (order.named and (order.series is None or order.wanted)):
        contents = _contents_if_told(peer, order)
    asked = identifiers(order, contents)
    if order.method == "move":
        return _Retrieval(peer, way, handle, STUDY_ROOT_MOVE, None).run(asked, ())
    forwarder = way.forwarder()
    try:
        offered = [
            Proposal(uid, syntaxes, as_scp=True)
            for uid, syntaxes in storage_contexts(contents.sop_classes)
        ]
        return _Retrieval(peer, way, handle, STUDY_ROOT_GET, forwarder).run(asked, offered)
    finally:
        forwarder.close()


def _contents_if_told(peer: Peer, order: Order) -> Contents:
    """Return what the node says; nothing when it does not serve queries."""
    try:
        return look(peer, order.study, order.series)
    except PeerFault as fault:
        if isinstance(fault, Refused) or fault.reason == "SopClassNotAccepted":
            return Contents()
        raise


def look(peer: Peer, study: str, series: str | None) -> Contents:
    """Return what a node has of a study, or of one of its series. It blocks.

    Raises:
        PeerFault: it does not tell.
    """
    deadline = time.monotonic() + _LOCATE_SECONDS
    association = associate(peer, [Proposal(STUDY_ROOT_FIND, (one,)) for one in SYNTAXES])
    try:
        known = [series] if series else _values(association, study, deadline)
        found = {}
        for uid in known:
            keys = {"StudyInstanceUID": study, "SeriesInstanceUID": uid}
            query = study_root_identifier(RemoteQuery(level="image", keys=keys))
            matches = find(association, STUDY_ROOT_FIND, query, limit=_MOST, deadline=deadline)
            found[uid] = [
                (str(one.get("SOPInstanceUID", "")), str(one.get("SOPClassUID", "")))
                for one in matches.data_sets
            ]
    except BaseException:
        association.abort()
        raise
    association.release()
    return Contents(found)


def _values(association: Association, study: str, deadline: float) -> list[str]:
    query = study_root_identifier(RemoteQuery(level="series", keys={"StudyInstanceUID": study}))
    matches = find(association, STUDY_ROOT_FIND, query, limit=_MOST, deadline=deadline)
    found = (str(one.get("SeriesInstanceUID", "")) for one in matches.data_sets)
    return [uid for uid in dict.fromkeys(found) if uid]


class _Retrieval:
    """One association, one identifier after the other."""

    def __init__(
        self, peer: Peer, way: Way, handle: Handle, sop_class: str, forwarder: Forwarder | None
    ) -> None:
        self._peer = peer
        self._way = way
        self._handle = handle
        self._sop_class = sop_class
        self._forwarder = forwarder
        self._failed_uids: dict[str, None] = {}
        self._before = (0, 0, 0)  # completed, failed, warned of earlier identifiers

    def run(self, asked: Sequence[Dataset], offered: Sequence[Proposal]) -> End:
        proposals = [Proposal(self._sop_class, (one,)) for one in SYNTAXES]
        association = associate(self._peer, [*proposals, *offered])
        self._handle.association = association
        status = 0
        try:
            for one in asked:
                status = self._ask(association, one) or status
                handle = self._handle
                self._before = handle.completed, handle.failed, handle.warned
                if self._handle.stop.is_set():
                    break
        except BaseException:
            association.abort()
            raise
        finally:
            self._handle.association = None
        association.release()
        completed, failed, warned = self._before
        return End(status, completed, failed, warned, tuple(self._failed_uids))

    def _ask(self, association: Association, identifier: Dataset) -> int:
        """Return the final status of one request."""
        context, syntax = context_for(association, self._sop_class)
        message_id = association.next_message_id()
        is_get = self._forwarder is not None
        command = encode_query(
            CommandField.C_GET if is_get else CommandField.C_MOVE,
            message_id,
            self._sop_class,
            move_destination="" if is_get else self._way.destination,
        )
        association.ask(context, command, encode_data_set(identifier, syntax))
        last_word, cancelled_at = time.monotonic(), 0.0
        incoming = _Incoming(association, self._forwarder)
        while True:
            if self._handle.stop.is_set() and not cancelled_at:
                association.ask(context, encode_cancel(message_id), b"")
                cancelled_at = time.monotonic()
            if cancelled_at and time.monotonic() - cancelled_at > _CANCEL_SECONDS:
                raise PeerFault("AnswerTimeout", "it does not end after a C-CANCEL")
            try:
                fragment = association.receive_fragment(time.monotonic() + _TICK)
            except PeerFault as fault:
                patience = max(self._peer.answer_seconds, self._way.silence)
                if fault.reason != "AnswerTimeout" or time.monotonic() - last_word > patience:
                    raise
                continue
            last_word = time.monotonic()
            answer = self._taken(incoming, fragment, message_id)
            if answer is not None and not answer.pending:
                return answer.status

    def _taken(self, incoming: "_Incoming", fragment: Fragment, message_id: int) -> Answer | None:
        """Take a fragment; return the response that is whole with it."""
        try:
            message = incoming.take(fragment)
            if message is None:
                return None
            command, data, context, stored = message
            if stored is not None:
                self._stored(command, stored)
                return None
            answer = decode_answer(command, message_id)
            self._count(answer)
            if data:
                _, syntax = incoming.association.contexts.get(context, ("", SYNTAXES[0]))
                told = decode_data_set(data, syntax).get("FailedSOPInstanceUIDList") or []
                uids = [told] if isinstance(told, str) else told
                self._failed_uids |= dict.fromkeys(str(uid) for uid in uids if uid)
        except ProtocolError as error:
            raise PeerFault("ProtocolError", error.code) from error
        return answer

    def _stored(self, command: bytes, status: int) -> None:
        handle = self._handle
        if status == 0:
            handle.completed += 1
        else:
            handle.failed += 1
            uid = decode_command(command).sop_instance_uid.decode("latin-1")
            self._failed_uids[uid] = None

    def _count(self, answer: Answer) -> None:
        handle, told = self._handle, answer.sub_operations
        handle.remaining = told.remaining if answer.pending else None
        if self._forwarder is not None:
            # What was never sent to us is known to the node alone.
            handle.failed = max(handle.failed, self._before[1] + (told.failed or 0))
            return
        completed, failed, warned = self._before
        handle.completed = max(handle.completed, completed + (told.completed or 0))
        handle.failed = max(handle.failed, failed + (told.failed or 0))
        handle.warned = max(handle.warned, warned + (told.warned or 0))


_Message = tuple[bytes, bytes, int, int | None]
"""Command, data set, context, and the status of an object that was stored."""


class _Incoming:
    """Puts messages together; objects go to the forwarder while they come."""

    def __init__(self, association: Association, forwarder: Forwarder | None) -> None:
        self.association = association
        self._forwarder = forwarder
        self._command = bytearray()
        self._data = bytearray()
        self._owes_data = False
        self._request: Command | None = None

    def take(self, fragment: Fragment) -> _Message | None:
        """Return the message that this fragment completes.

        Raises:
            ProtocolError: it is none that may come here.
            PeerFault: the answer to an object cannot be sent.
        """
        if fragment.is_command is self._owes_data:
            raise ProtocolError("fragment-out-of-order")
        if fragment.is_command:
            return self._take_command(fragment)
        if self._request is not None and self._forwarder is not None:
            self._forwarder.write(fragment.data, last=fragment.last)
        elif len(self._data) + len(fragment.data) > IDENTIFIER_LIMIT:
            raise ProtocolError("message-too-long")
        else:
            self._data += fragment.data
        return self._ended(fragment.context) if fragment.last else None

    def _take_command(self, fragment: Fragment) -> _Message | None:
        if len(self._command) + len(fragment.data) > _COMMAND_LIMIT:
            raise ProtocolError("message-too-long")
        self._command += fragment.data
        if not fragment.last:
            return None
        self._owes_data = has_data_set(self._command)
        field = decode_short(decode_elements(self._command), _COMMAND_FIELD)
        if field == CommandField.C_STORE:
            if self._forwarder is None or not self._owes_data:
                raise ProtocolError("unexpected-message")
            self._request = decode_command(self._command)
            _, syntax = self.association.contexts.get(fragment.context, ("", ""))
            self._forwarder.begin(self._request, syntax)
        return None if self._owes_data else self._ended(fragment.context)

    def _ended(self, context: int) -> _Message:
        status = None
        if self._request is not None and self._forwarder is not None:
            status = self._forwarder.end()
            answer = encode_response(self._request, status)
            self.association.ask(context, answer, b"")
        message = bytes(self._command), bytes(self._data), context, status
        self._command.clear()
        self._data.clear()
        self._owes_data = False
        self._request = None
        return message
