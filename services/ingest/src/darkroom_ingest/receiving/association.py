"""One association with a sender: C-STORE and C-ECHO, from PDUs to answers (PS3.7, PS3.8).

This is the hot path. A read takes what the kernel has, up to 512 KiB; the parser says which of it
is data; those views go to the spool in one write; after the last one the answer goes out in one
send.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from darkroom_common.dimse.acceptor import Accepted
from darkroom_common.dimse.bridge import Busy
from darkroom_common.dimse.connection import PeerGone
from darkroom_common.dimse.contexts import VERIFICATION
from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.dimse.wire.command import (
    COMMAND_LIMIT,
    Command,
    CommandField,
    decode_command,
    encode_response,
)
from darkroom_common.dimse.wire.pdu import (
    AbortReason,
    ControlPdu,
    Fragment,
    PduKind,
    PduParser,
    ProtocolError,
    encode_abort,
    encode_data,
    encode_release_response,
)
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.receiving.acceptance import Offer
from darkroom_ingest.receiving.receive import Receiver, Reception

log = get_logger(__name__)
_LEAST_BYTES: Final = 1024
"""What a peer must send within a stall limit while it owes the rest of a PDU."""


@dataclass(frozen=True)
class Pace:
    """How long a peer may be silent, in seconds."""

    stall: float
    """Within a PDU."""
    idle: float
    """Between PDUs."""


@dataclass(frozen=True)
class StoreService:
    """What every association of a process works with."""

    receiver: Receiver
    busy: Busy
    pace: Pace
    max_length: int
    sop_classes: frozenset[str]


class StoreAssociation:
    """Serves one association. `run` returns when it has ended, in whatever way."""

    def __init__(
        self, accepted: Accepted, service: StoreService, may_store: Callable[[str], bool]
    ) -> None:
        self._may_store = may_store
        self._accepted = accepted
        self._connection = accepted.connection
        self._ae = accepted.request.calling_ae_title
        self._service = service
        self._parser = PduParser(service.max_length)
        self._command_bytes = bytearray()
        self._context = 0
        self._command: Command | None = None  # the request whose data set is awaited
        self._reception: Reception | None = None
        self._refused = StoreStatus.SUCCESS
        self._busy = ExitStack()
        self._parts: list[memoryview] = []
        self._released = False

    def run(self) -> None:
        """Serve until release, abort, a violation or a time limit."""
        try:
            self._serve()
            metrics.ASSOCIATIONS.labels("released").inc()
            log.info("association.released", ae=self._ae)
        except PeerGone as error:
            self._end(error.code)
            self._connection.close()
        except ProtocolError as error:
            self._end(error.code)
            self._connection.hang_up(encode_abort(error.reason))
        except Exception as error:  # the seam to a thread: nothing may pass
            log.exception("association.failed", ae=self._ae)
            self._end(type(error).__name__)
            self._connection.hang_up(encode_abort(AbortReason.NOT_SPECIFIED))
        finally:
            if self._reception is not None:
                self._reception.abandon()
            self._busy.close()

    def _end(self, reason: str) -> None:
        metrics.ASSOCIATIONS.labels("aborted").inc()
        log.warning("association.aborted", ae=self._ae, reason=reason)

    def _serve(self) -> None:
        pace = self._service.pace
        since, count = time.monotonic(), 0
        while not self._released:
            within = self._parser.within_pdu
            data = self._connection.read(pace.stall if within else pace.idle)
            now = time.monotonic()
            if not within:
                since, count = now, 0
            elif now - since > pace.stall:
                if count < _LEAST_BYTES:
                    raise PeerGone("too-slow")
                since, count = now, 0
            count += len(data)
            for event in self._parser.feed(data):
                if isinstance(event, ControlPdu):
                    self._control(event)
                elif event.is_command:
                    self._take_command(event)
                else:
                    self._take_data(event)
            self._flush()
        self._connection.hang_up()

    def _control(self, pdu: ControlPdu) -> None:
        match pdu.kind:
            case PduKind.RELEASE_RQ:
                self._connection.send(encode_release_response())
                self._released = True
            case PduKind.ABORT:
                raise PeerGone("aborted-by-peer")
            case _:
                raise ProtocolError("unexpected-pdu", AbortReason.UNEXPECTED_PDU)

    def _take_command(self, fragment: Fragment) -> None:
        if self._command is not None or self._released:
            raise ProtocolError("command-within-data-set")
        if fragment.context not in self._accepted.contexts:
            raise ProtocolError("context-not-accepted", AbortReason.INVALID_PARAMETER)
        self._command_bytes += fragment.data
        if len(self._command_bytes) > COMMAND_LIMIT:
            raise ProtocolError("command-too-long", AbortReason.INVALID_PARAMETER)
        if not fragment.last:
            return
        command = decode_command(self._command_bytes)
        self._command_bytes.clear()
        self._context = fragment.context
        match command.field:
            case CommandField.C_STORE:
                self._begin_store(command)
            case CommandField.C_ECHO if not command.has_data_set:
                log.info("echo.answered", ae=self._ae)
                self._answer(command, StoreStatus.SUCCESS)
            case CommandField.C_CANCEL:
                pass  # there is nothing to cancel: an answer is on its way
            case _:
                raise ProtocolError("unknown-command")

    def _begin_store(self, command: Command) -> None:
        context = self._accepted.contexts[self._context]
        sop_class = command.sop_class_uid.decode("latin-1")
        self._busy.enter_context(self._service.busy.working())
        self._command = command
        if sop_class not in self._service.sop_classes or context.abstract_syntax == VERIFICATION:
            self._refused = StoreStatus.SOP_CLASS_NOT_SUPPORTED
        elif not self._may_store(sop_class):
            self._refused = StoreStatus.REFUSED_NOT_AUTHORISED
        elif not command.has_data_set:
            self._refused = StoreStatus.CANNOT_UNDERSTAND
        else:
            self._refused = StoreStatus.SUCCESS
            self._reception = self._service.receiver.begin(
                Offer(
                    sop_class_uid=sop_class,
                    sop_instance_uid=command.sop_instance_uid.decode("latin-1"),
                    transfer_syntax_uid=context.transfer_syntax,
                    calling_ae_title=self._ae,
                    called_ae_title=self._accepted.request.called_ae_title,
                )
            )
        if not command.has_data_set:
            self._end_store(command)

    def _take_data(self, fragment: Fragment) -> None:
        if self._command is None or fragment.context != self._context:
            raise ProtocolError("data-set-without-command")
        if self._reception is not None and fragment.data:
            self._parts.append(fragment.data)
        if fragment.last:
            self._flush()
            self._end_store(self._command)

    def _flush(self) -> None:
        """Hand on the data of this read: the next read overwrites them."""
        if self._parts and self._reception is not None:
            self._reception.write(self._parts)
            if self._reception.overrun:
                raise ProtocolError("object-too-long")
        self._parts = []

    def _end_store(self, command: Command) -> None:
        reception, self._reception, self._command = self._reception, None, None
        if reception is None:
            status = self._refused
            metrics.STORE_RESPONSES.labels(str(status)).inc()
            reason = status.name.lower()
            log.warning("store.refused", ae=self._ae, reason=reason, status=str(status))
        else:
            status = reception.finish()
        self._answer(command, status)
        self._busy.close()

    def _answer(self, command: Command, status: StoreStatus) -> None:
        self._connection.send(
            encode_data(
                self._context,
                is_command=True,
                data=encode_response(command, status),
                max_length=self._accepted.request.max_length,
            )
        )
