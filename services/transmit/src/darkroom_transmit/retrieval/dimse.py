"""C-MOVE and C-GET as SCU, in a thread (PS3.4 sections C.4.2 and C.4.3)."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dimse.requestor import Association, Peer, PeerFault, associate, faults
from darkroom_common.dimse.statuses import SUCCESS
from darkroom_common.dimse.users.find import STUDY_ROOT_FIND, Refused, ask, find
from darkroom_common.dimse.wire.association_items import Context, Proposal
from darkroom_common.dimse.wire.command import (
    Command,
    CommandField,
    Element,
    Value,
    encode_cancel,
    encode_response,
)
from darkroom_common.dimse.wire.data_set import IDENTIFIER_LIMIT, SYNTAXES, decode_data_set
from darkroom_common.dimse.wire.messages import InMemory, Message, Sink
from darkroom_common.dimse.wire.pdu import AbortReason, ProtocolError
from darkroom_common.specs.remote import RemoteQuery
from darkroom_transmit.remote.query_keys import study_root_identifier
from darkroom_transmit.retrieval.decision import Contents, End, Order, identifiers, storage_contexts
from darkroom_transmit.retrieval.forwarding import Forwarder

STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_TICK: Final = 0.5
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
    before: int = 0
    """Instances that earlier attempts have brought, and that this one does not ask for."""
    asked: bool = False
    hurried: bool = False
    """Somebody waits for it: no throttle of a migration holds it up."""
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
    by_name = order.named and (order.series is None or order.wanted)
    if order.method == "get" or by_name or order.here:
        contents = _contents_if_told(peer, order)
    left = order.narrowed(contents)
    if left is None:
        handle.before = len(order.here)
        return End(SUCCESS, 0, 0, 0, ())
    if left is not order:
        handle.before = len(order.here)
    return retrieve_known(peer, left, contents, way, handle)


def retrieve_known(peer: Peer, order: Order, contents: Contents, way: Way, handle: Handle) -> End:
    """Retrieve what is known to be there; see `retrieve`. It blocks.

    Raises:
        PeerFault: it is not known what has arrived.
    """
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
    deadline = SYSTEM_CLOCK.monotonic() + _LOCATE_SECONDS
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
        self._contexts: Mapping[int, Context] = {}
        self._before = (0, 0, 0)  # completed, failed, warned of earlier identifiers

    def run(self, asked: Sequence[Dataset], offered: Sequence[Proposal]) -> End:
        proposals = [Proposal(self._sop_class, (one,)) for one in SYNTAXES]
        association = associate(self._peer, [*proposals, *offered], self._open)
        self._contexts = association.contexts
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
        elements: dict[int, Value] = {}
        if self._forwarder is None:
            elements[Element.MOVE_DESTINATION] = self._way.destination
        field = CommandField.C_MOVE if self._forwarder is None else CommandField.C_GET
        context, message_id = ask(association, field, self._sop_class, identifier, elements)
        self._handle.asked = True
        began, cancelled_at = SYSTEM_CLOCK.monotonic(), 0.0
        while True:
            if self._handle.stop.is_set() and not cancelled_at:
                association.ask(context, encode_cancel(message_id))
                cancelled_at = SYSTEM_CLOCK.monotonic()
            if cancelled_at and SYSTEM_CLOCK.monotonic() - cancelled_at > _CANCEL_SECONDS:
                raise PeerFault("AnswerTimeout", "it does not end after a C-CANCEL")
            try:
                message = association.response(
                    message_id, SYSTEM_CLOCK.monotonic() + _TICK, self._taker(association)
                )
            except PeerFault as fault:
                patience = max(self._peer.answer_seconds, self._way.silence)
                silent = SYSTEM_CLOCK.monotonic() - max(began, association.heard_at)
                if fault.reason != "AnswerTimeout" or silent > patience:
                    raise
                continue
            self._look(association, message)
            if not message.command.is_pending:
                return message.command.status

    def _look(self, association: Association, message: Message) -> None:
        """Take note of how far it has come."""
        self._count(message.command)
        if not message.data_set:
            return
        syntax = association.contexts[message.context].transfer_syntax
        with faults():
            told = decode_data_set(message.data_set, syntax).get("FailedSOPInstanceUIDList") or []
        uids = [told] if isinstance(told, str) else told
        self._failed_uids |= dict.fromkeys(str(uid) for uid in uids if uid)

    def _open(self, context: int, command: Command) -> Sink:
        """Say where a data set goes: objects go to the forwarder while they come."""
        if command.is_response or command.field != CommandField.C_STORE:
            return InMemory(IDENTIFIER_LIMIT)
        if self._forwarder is None:
            raise ProtocolError("unexpected-message", AbortReason.UNEXPECTED_PDU)
        self._forwarder.begin(command, self._contexts[context].transfer_syntax)
        return self._forwarder

    def _taker(self, association: Association) -> Callable[[Message], bool]:
        def take(message: Message) -> bool:
            """Answer an object that has come whole."""
            if message.sink is not self._forwarder or self._forwarder is None:
                return False
            status = self._forwarder.end()
            association.ask(message.context, encode_response(message.command, status))
            if status == 0:
                self._handle.completed += 1
            else:
                self._handle.failed += 1
                self._failed_uids[message.command.sop_instance_uid] = None
            return True

        return take

    def _count(self, answer: Command) -> None:
        handle, told = self._handle, answer.sub_operations
        handle.remaining = told.remaining if answer.is_pending else None
        if self._forwarder is not None:
            # What was never sent to us is known to the node alone.
            handle.failed = max(handle.failed, self._before[1] + (told.failed or 0))
            return
        completed, failed, warned = self._before
        handle.completed = max(handle.completed, completed + (told.completed or 0))
        handle.failed = max(handle.failed, failed + (told.failed or 0))
        handle.warned = max(handle.warned, warned + (told.warned or 0))
