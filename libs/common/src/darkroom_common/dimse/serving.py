"""What is served on associations: services as declarations, and the loop that dispatches to them.

A service is some SOP classes with a handler for each command. A handler is a function of a request
that yields answers; where the data set of a request goes is its own choice, so that C-STORE writes
to the spool what was read from the socket. See PS3.7 chapters 9 and 10.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed
from darkroom_common.dimse.back_channel import BackChannel, send_deadline
from darkroom_common.dimse.channel import Channel, Pace
from darkroom_common.dimse.connection import Connection, PeerGone
from darkroom_common.dimse.contexts import VERIFICATION
from darkroom_common.dimse.journal import Tally
from darkroom_common.dimse.negotiation import Supported
from darkroom_common.dimse.statuses import (
    NO_SUCH_SOP_CLASS,
    NOT_AUTHORISED,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNRECOGNISED_OPERATION,
    is_pending,
)
from darkroom_common.dimse.wire.association_items import AssociateRequest, Context, Role
from darkroom_common.dimse.wire.command import Command, CommandField, Value, encode_response
from darkroom_common.dimse.wire.data_set import (
    IDENTIFIER_LIMIT,
    SYNTAXES,
    decode_data_set,
    encode_data_set,
)
from darkroom_common.dimse.wire.messages import Ignored, InMemory, Message, Sink
from darkroom_common.dimse.wire.pdu import (
    AbortReason,
    ControlPdu,
    PduKind,
    ProtocolError,
    encode_abort,
    encode_release_response,
)
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics

log = get_logger(__name__)


@dataclass(frozen=True)
class Answer:
    """A response to a request.

    Attributes:
        data_set: bytes are in the transfer syntax of the request's context already.
        elements: of the command set, beside what every response has.
    """

    status: int
    data_set: Dataset | bytes | None = None
    elements: Mapping[int, Value] = field(default_factory=dict)


@dataclass
class Request:
    """A request on an open association.

    Attributes:
        caller: who has opened the association.
        host: from which address.
        certificate_sha256: of the certificate that was shown; empty without.
        sink: what has its data set; None without one.
        cancelled: a C-CANCEL has come for it; looked at after each pending answer.
        back: to ask the caller while this is served.
    """

    command: Command
    context: Context
    caller: AssociateRequest
    sink: Sink | None = None
    cancelled: bool = False
    back: BackChannel | None = None
    host: str = ""
    certificate_sha256: str = ""

    def data_set(self, assumed: Assumed = NOTHING_ASSUMED) -> Dataset:
        """Return the identifier or attribute list that came with it.

        Args:
            assumed: of the text of whoever asks.

        Raises:
            ProtocolError: there is none, or it cannot be read.
        """
        if not isinstance(self.sink, InMemory):
            raise ProtocolError("no-data-set")
        return decode_data_set(bytes(self.sink.data), self.context.transfer_syntax, assumed)


@dataclass(frozen=True)
class Handler:
    """How one command is served.

    Attributes:
        answer: yields the responses; all but the last are pending. What it does after the last is
            done when the request is over, on the association that is still open.
        open: says where the data set goes.
    """

    answer: Callable[[Request], Iterable[Answer]]
    open: Callable[[Request], Sink] = lambda _: InMemory(IDENTIFIER_LIMIT)


@dataclass(frozen=True)
class Service:
    """Some SOP classes and what is done under them.

    Attributes:
        role: what the requestor may be.
        extended: says what is agreed on of what it would like (PS3.7 section D.3.3.5).
    """

    sop_classes: Iterable[str]
    handlers: Mapping[CommandField, Handler]
    transfer_syntaxes: Sequence[str] = SYNTAXES
    role: Role = field(default_factory=Role)
    extended: Callable[[bytes], bytes] | None = None


def _echo(request: Request) -> Iterator[Answer]:
    log.info("echo.answered", ae=request.caller.calling_ae_title)
    yield Answer(SUCCESS)


ECHO: Final = Handler(_echo, lambda _: InMemory(0))


class Services:
    """All that a door serves: the verification service, and others.

    Args:
        verification_syntaxes: transfer syntaxes for verification; it has no data sets.
    """

    def __init__(self, *services: Service, verification_syntaxes: Sequence[str] = SYNTAXES) -> None:
        echo = Service((VERIFICATION,), {CommandField.C_ECHO: ECHO}, verification_syntaxes)
        self._served: dict[str, Service] = {
            uid: service for service in (echo, *services) for uid in service.sop_classes
        }
        self._commands = {field for service in services for field in service.handlers}
        self.supported = {
            uid: Supported(tuple(service.transfer_syntaxes), service.role, service.extended)
            for uid, service in self._served.items()
        }

    def find(self, command: Command, context: Context) -> Handler | int:
        """Return what serves a command, or the status that refuses it (PS3.7 annex C).

        The SOP class that a command names may be another one of the same service as that of its
        presentation context: so much is forgiven. C-ECHO is answered wherever it comes.
        """
        if command.field == CommandField.C_ECHO:
            return ECHO
        if command.field not in self._commands:
            return UNRECOGNISED_OPERATION
        service = self._served[context.abstract_syntax]
        handler = service.handlers.get(CommandField(command.field))
        if handler is None or self._served.get(command.sop_class_uid) is not service:
            normalized = command.field & CommandField.N_EVENT_REPORT
            return NO_SUCH_SOP_CLASS if normalized else SOP_CLASS_NOT_SUPPORTED
        return handler


class Busy:
    """Lets the process wait for its threads to finish what they are at."""

    def __init__(self) -> None:
        self._busy = 0
        self._changed = threading.Condition()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a thread as busy for the length of a block."""
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def wait_idle(self, limit: float) -> bool:
        """Return whether no thread is busy, waiting at most `limit` seconds. It blocks."""
        with self._changed:
            return self._changed.wait_for(lambda: self._busy == 0, timeout=limit)


@dataclass(eq=False)
class Served:
    """Serves one association. `run` returns when it has ended, in whatever way.

    Attributes:
        connection: on which it was accepted.
        caller: what was asked for.
        contexts: accepted ones, by id.
        services: to dispatch to.
        pace: that is asked of the peer.
        busy: counts requests that are worked at.
        may: tells whether the caller may give this command for this SOP class.
        max_length: of the P-DATA-TF that we take.
        tally: of what was asked.
        ended: is told how it ends, once: nothing or what is wrong. A release is told before it is
            answered, so that whoever kills us then has lost nothing.
    """

    connection: Connection
    caller: AssociateRequest
    contexts: Mapping[int, Context]
    services: Services
    pace: Pace
    busy: Busy
    may: Callable[[int, str], bool]
    max_length: int
    tally: Tally = field(default_factory=Tally)
    ended: Callable[[str], object] = lambda _: None

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._working = ExitStack()
        self._handler: Handler | int = SUCCESS
        self._request: Request | None = None  # whose data set is awaited, or that is answered
        self._channel = Channel(
            self.connection,
            self.contexts,
            self._open,
            takes=self.caller.max_length,
            max_length=self.max_length,
        )
        self._back = BackChannel(self._channel, self.tally)

    def run(self) -> None:
        """Serve until release, abort, a violation or a time limit."""
        try:
            while isinstance(event := self._channel.receive(self.pace), Message):
                self._take(event)
            self._release(event)
            metrics.ASSOCIATIONS.labels("released").inc()
            log.info("association.released", ae=self.caller.calling_ae_title)
            self.connection.hang_up()
        except PeerGone as error:
            self._end(error.code)
            self.connection.close()
        except ProtocolError as error:
            self._end(error.code)
            self.connection.hang_up(encode_abort(error.reason))
        except Exception as error:  # the seam to a thread: nothing may pass
            log.exception("association.failed", ae=self.caller.calling_ae_title)
            self._end(type(error).__name__)
            self.connection.hang_up(encode_abort(AbortReason.NOT_SPECIFIED))
        finally:
            self._channel.assembler.abandon()
            self._working.close()

    def _end(self, reason: str) -> None:
        self._tell(reason)
        metrics.ASSOCIATIONS.labels("aborted").inc()
        log.warning("association.aborted", ae=self.caller.calling_ae_title, reason=reason)

    def _tell(self, fault: str) -> None:
        ended, self.ended = self.ended, lambda _: None
        ended(fault)

    def _release(self, pdu: ControlPdu) -> None:
        match pdu.kind:
            case PduKind.RELEASE_RQ:
                self._tell("")
                self.connection.send(encode_release_response())
            case PduKind.ABORT:
                raise PeerGone("aborted-by-peer")
            case _:
                raise ProtocolError("unexpected-pdu", AbortReason.UNEXPECTED_PDU)

    def _begin(self, context: int, command: Command) -> Request:
        """Look who serves a request: its command is whole, its data set is still to come."""
        if command.is_response or command.field == CommandField.C_CANCEL or self._request:
            raise ProtocolError("unexpected-message", AbortReason.UNEXPECTED_PDU)
        self._working.enter_context(self.busy.working())
        accepted = self.contexts[context]
        self._handler = self.services.find(command, accepted)
        if isinstance(self._handler, Handler) and not self.may(
            command.field, command.sop_class_uid
        ):
            self._handler = NOT_AUTHORISED
        log.debug(
            "dimse.request",
            ae=self.caller.calling_ae_title,
            command=f"{command.field:04X}",
            message_id=command.message_id,
        )
        self._request = Request(
            command,
            accepted,
            self.caller,
            back=self._back,
            host=self.connection.host,
            certificate_sha256=self.connection.certificate_sha256,
        )
        return self._request

    def _open(self, context: int, command: Command) -> Sink:
        if command.is_response:
            return Ignored()  # of the answer to a request of ours
        request = self._begin(context, command)
        handler = self._handler
        request.sink = handler.open(request) if isinstance(handler, Handler) else Ignored()
        return request.sink

    def _take(self, message: Message) -> None:
        if message.command.field == CommandField.C_CANCEL:
            return  # what it is about has been answered
        request = self._request or self._begin(message.context, message.command)
        answers: Iterable[Answer]
        if isinstance(self._handler, Handler):
            answers = self._handler.answer(request)
        else:
            answers = self._refuse(request, self._handler)
        for answer in answers:
            self._send(message.context, request, answer)
            if is_pending(answer.status):
                self._look_for_cancel(request)
            else:
                self._request = None
                self._working.close()

    def _refuse(self, request: Request, status: int) -> tuple[Answer]:
        if request.command.field == CommandField.C_STORE:
            metrics.STORE_RESPONSES.labels(f"{status:04X}").inc()
        log.warning(
            "request.refused",
            ae=self.caller.calling_ae_title,
            command=f"{request.command.field:04X}",
            status=f"{status:04X}",
        )
        return (Answer(status),)

    def _send(self, context: int, request: Request, answer: Answer) -> None:
        data_set = answer.data_set or b""
        if isinstance(data_set, Dataset):
            data_set = encode_data_set(data_set, request.context.transfer_syntax)
        command = encode_response(
            request.command, answer.status, data_set=bool(data_set), elements=answer.elements
        )
        pdus = self._channel.encode(context, command, data_set)
        self.connection.send(pdus, deadline=send_deadline(len(pdus)))
        log.debug(
            "dimse.answered",
            ae=self.caller.calling_ae_title,
            command=f"{request.command.field:04X}",
            message_id=request.command.message_id,
            status=f"{answer.status:04X}",
        )
        self.tally.answered(request.command.field, answer.status)

    def _look_for_cancel(self, request: Request) -> None:
        """Take what has come meanwhile: a C-CANCEL, or the end of the association."""
        while (event := self._channel.look()) is not None:
            if isinstance(event, ControlPdu):
                if event.kind is PduKind.ABORT:
                    raise PeerGone("aborted-by-peer")
                return  # it is taken when the request has been answered
            if event.command.field != CommandField.C_CANCEL:
                raise ProtocolError("unexpected-message", AbortReason.UNEXPECTED_PDU)
            self._channel.take_seen()
            request.cancelled |= event.command.message_id == request.command.message_id
