"""C-STORE as SCU: one data set after the other over an association, and what became of each."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from darkroom_common.dimse.requestor import Association, PeerFault
from darkroom_common.dimse.users.store import Opened, StoreEncoder, Unsendable
from darkroom_common.dimse.wire.command import Element, Value
from darkroom_transmit.sending.outcome import Outcome, Verdict, classify
from darkroom_transmit.sending.sources import Source
from darkroom_transmit.sending.throttle import PIECE, Throttle

Tell = Callable[[Source, Outcome], None]


class Stop(Protocol):
    """Says when no further data set is to be begun; asked from any thread."""

    def is_set(self) -> bool:
        """Return whether it is so by now."""
        ...


def outcome_of(error: Unsendable) -> Outcome:
    """Return what a file that cannot be read means for its instance."""
    return Outcome(Verdict.RETRY if error.transient else Verdict.FAILED, error.reason)


class StoreUser:
    """Sends data sets over one association; it belongs to one thread.

    Args:
        association: open.
        throttle: of the destination.
        elements: of every command: its priority, and whose C-MOVE it is.

    Attributes:
        under_way: the data set that was begun and is not answered.
    """

    def __init__(
        self,
        association: Association,
        throttle: Throttle,
        elements: Mapping[int, Value] | None = None,
    ) -> None:
        self._association = association
        self._throttle = throttle
        self._elements: dict[int, Value] = {Element.PRIORITY: 0, **(elements or {})}
        self._encoder = StoreEncoder(association.max_length)
        self.under_way: tuple[Source, ...] = ()

    def send(self, sources: Sequence[Source], tell: Tell, stop: Stop) -> None:
        """Send one after the other and tell what became of each, until `stop`.

        After an answer that asks for patience nothing more is sent: the others would hear the same.

        Raises:
            PeerFault: the association is of no use any more; what was not told is not known.
        """
        opened: Opened | None = None
        try:
            for number, source in enumerate(sources):
                if stop.is_set():
                    return
                opened = opened or self._open(source, tell)
                if opened is None:
                    continue
                self.under_way = (source,)
                message_id = self._transfer(source, opened)
                current, opened = opened, None
                os.close(current.descriptor)
                if number + 1 < len(sources) and not stop.is_set():
                    opened = self._open(sources[number + 1], tell)
                response = self._association.response(message_id)
                outcome = classify(response.command.status, source.transfer_syntax_uid)
                tell(source, outcome)
                if outcome.verdict is Verdict.RETRY:
                    return
        finally:
            if opened is not None:
                os.close(opened.descriptor)

    def _open(self, source: Source, tell: Tell) -> Opened | None:
        """Return a source ready to go; None when it was told that it cannot."""
        pair = source.sop_class_uid, source.transfer_syntax_uid
        context = self._association.accepted.get(pair)
        if context is None:
            tell(source, Outcome(Verdict.FAILED, self._association.why_not(*pair)))
            return None
        try:
            return self._encoder.open(source, context)
        except Unsendable as error:
            tell(source, outcome_of(error))
            return None

    def _transfer(self, source: Source, opened: Opened) -> int:
        association = self._association
        message_id = association.next_message_id()
        deadline = association.deadline_for(source.size)
        if self._throttle.rate is not None:
            deadline += source.size / self._throttle.rate * 2
        elements = self._elements | {Element.MESSAGE_ID: message_id}
        try:
            self._encoder.transfer(opened, elements, partial(self._put, deadline))
        except Unsendable as error:  # what was sent of it cannot be taken back
            raise PeerFault(error.reason, "in the middle of an object") from error
        return message_id

    def _put(self, deadline: float, command: bytes, chunk: memoryview) -> None:
        if self._throttle.rate is None:
            self._association.send(command, chunk, deadline=deadline)
            return
        if command:
            self._association.send(command, deadline=deadline)
        for start in range(0, len(chunk), PIECE):
            piece = chunk[start : start + PIECE]
            time.sleep(self._throttle.reserve(len(piece)))
            self._association.send(piece, deadline=deadline)
