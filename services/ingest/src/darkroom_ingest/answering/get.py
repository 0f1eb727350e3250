"""C-GET as a handler (PS3.4 section C.4.3): objects go out on the association that has asked.

Some objects at a time are made ready by the archive's thread, those that the asker cannot take as
they are stored in worker processes, while this thread sends those before.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from darkroom_common.clock import monotonic
from darkroom_common.dimse.back_channel import BackChannel, send_deadline
from darkroom_common.dimse.serving import Answer, Handler, Request, Service
from darkroom_common.dimse.statuses import SUCCESS, is_failure
from darkroom_common.dimse.users.store import Opened, StoreEncoder, Unsendable
from darkroom_common.dimse.wire.command import CommandField, Element, Value
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.index.rows import StoredInstance
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_common.transcoding.preparing import (
    CannotPrepare,
    ObjectPreparer,
    PreparationUnavailable,
    Prepared,
)
from darkroom_ingest.answering.archive import Archive
from darkroom_ingest.answering.find import agreed
from darkroom_ingest.answering.named import MODELS
from darkroom_ingest.answering.progress import Progress
from darkroom_ingest.answering.retrieving import Desk, Found

log = get_logger(__name__)
FIRST: Final = 2
"""Objects that are made ready before the first one goes."""
NEXT: Final = 16
"""That are made ready while those before go."""
PENDING_SECONDS: Final = 0.1
"""Between pending answers, at least."""
_NOT_ACCEPTED: Final = "NotAccepted"


def getting(desk: Desk) -> Service:
    """Return the service of C-GET, of all information models."""

    def answer(request: Request) -> Iterator[Answer]:
        return desk.answer(request, partial(_get, desk))

    return Service(
        sop_classes=tuple(model["get"] for model in MODELS),
        handlers={CommandField.C_GET: Handler(answer)},
        extended=lambda wanted: agreed(wanted)[:1],
    )


@dataclass
class Ready:
    """Some objects that can go, or why they cannot, and what holds their files."""

    objects: list[tuple[StoredInstance, Prepared | str]] = field(default_factory=list)
    held: AsyncExitStack = field(default_factory=AsyncExitStack)


class Shelf:
    """Objects of one retrieval, made ready some at a time, ahead of what is sent.

    Args:
        archive: makes them ready.
        accepted: transfer syntaxes that the asker takes, by SOP class.
    """

    def __init__(
        self,
        archive: Archive,
        instances: Sequence[StoredInstance],
        accepted: dict[str, tuple[str, ...]],
    ) -> None:
        self._archive = archive
        self._accepted = accepted
        self._left = list(instances)

    def some(self) -> Iterator[list[tuple[StoredInstance, Prepared | str]]]:
        """Yield objects that are ready; their files are there until the next are asked for."""
        coming = self._begin(FIRST)
        try:
            while coming is not None:
                ready = coming.result()
                coming = self._begin(NEXT)
                try:
                    yield ready.objects
                finally:
                    self._archive.begin(ready.held.aclose())
        finally:
            if coming is not None:
                coming.add_done_callback(self._give_up)

    def _begin(self, count: int) -> Future[Ready] | None:
        batch, self._left = self._left[:count], self._left[count:]
        return self._archive.begin(self._prepare(batch)) if batch else None

    def _give_up(self, coming: Future[Ready]) -> None:
        if coming.exception() is None:
            self._archive.begin(coming.result().held.aclose())

    async def _prepare(self, batch: Sequence[StoredInstance]) -> Ready:
        preparer = await self._archive.preparer()
        ready = Ready()
        for one in batch:
            syntaxes = self._accepted.get(one.sop_class_uid, ())
            found = await _made(preparer, one, syntaxes, ready) if syntaxes else _NOT_ACCEPTED
            ready.objects.append((one, found))
        return ready


async def _made(
    preparer: ObjectPreparer, one: StoredInstance, syntaxes: tuple[str, ...], ready: Ready
) -> Prepared | str:
    """Return a data set that is held until `ready` is given up, or why there is none."""
    at_once = preparer.at_once(one, syntaxes)
    if at_once is not None:
        return at_once
    try:
        return await ready.held.enter_async_context(preparer.prepare(one, syntaxes))
    except (CannotPrepare, PreparationUnavailable) as error:
        return error.reason


@dataclass
class _Sending:
    """Sends objects to whoever has asked, one after the other, and counts."""

    request: Request
    back: BackChannel
    progress: Progress
    encoder: StoreEncoder
    message_id: int = 0

    def opened(
        self, objects: Sequence[tuple[StoredInstance, Prepared | str]]
    ) -> Generator[tuple[StoredInstance, Opened], None, None]:
        """Yield objects whose beginning is read; the others are counted as failed.

        The one before must have gone when the next is asked for. What was yielded is closed when
        the next is asked for, or the generator closed.
        """
        for one, ready in objects:
            opened = self._open(one, ready)
            if opened is not None:
                try:
                    yield one, opened
                finally:
                    os.close(opened.descriptor)

    def _open(self, one: StoredInstance, ready: Prepared | str) -> Opened | None:
        if isinstance(ready, str):
            self._fail(one, ready)
            return None
        context = self.back.accepted.get((ready.sop_class_uid, ready.transfer_syntax_uid))
        if context is None:
            self._fail(one, _NOT_ACCEPTED)
            return None
        try:
            return self.encoder.open(ready, context)
        except Unsendable as error:
            self._fail(one, error.reason)
            return None

    def begin(self, opened: Opened) -> None:
        """Send an object; `end` waits for its answer.

        Raises:
            ProtocolError: its file has changed meanwhile: what was sent cannot be taken back.
        """
        self.message_id = self.back.next_message_id()
        elements: dict[int, Value] = {Element.PRIORITY: 0, Element.MESSAGE_ID: self.message_id}
        deadline = send_deadline(opened.source.size)

        def put(command: bytes, chunk: memoryview) -> None:
            self.back.send(command, chunk, deadline=deadline)

        try:
            self.encoder.transfer(opened, elements, put)
        except Unsendable as error:
            raise ProtocolError(error.reason) from error

    def end(self, one: StoredInstance, size: int) -> None:
        """Wait for the answer to the object that was sent, and count it."""
        status = self.back.response(self.message_id).status
        if is_failure(status):
            self._fail(one, f"{status:04X}")
            return
        if status == SUCCESS:
            self.progress.completed += 1
        else:
            self.progress.warned += 1
        self.progress.remaining -= 1
        metrics.RETRIEVED.labels("completed" if status == SUCCESS else "warned").inc()
        metrics.RETRIEVED_BYTES.inc(size)

    def _fail(self, one: StoredInstance, reason: str) -> None:
        self.progress.fail(one.sop_instance_uid)
        metrics.RETRIEVED.labels("failed").inc()
        log.warning(
            "retrieval.instance_failed",
            ae=self.request.caller.calling_ae_title,
            sop_instance_uid=one.sop_instance_uid,
            reason=reason,
        )

    @property
    def cancelled(self) -> bool:
        """Whether the asker wants no more."""
        return self.request.cancelled or self.request.command.message_id in self.back.cancelled


def _accepted(back: BackChannel) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for sop_class, syntax in back.accepted:
        found[sop_class] = (*found.get(sop_class, ()), syntax)
    return found


def _get(
    desk: Desk, request: Request, found: Found, progress: Progress
) -> Generator[Answer, None, Answer]:
    """Send what was found; yield pending answers and return the last one."""
    back = request.back
    if back is None:
        raise ProtocolError("no-back-channel")
    sending = _Sending(request, back, progress, StoreEncoder(back.max_length))
    deadline = monotonic() + desk.settings.retrieve_seconds
    told = 0.0
    shelf = Shelf(desk.archive, found.instances, _accepted(back))
    for objects in shelf.some():
        with closing(sending.opened(objects)) as coming:
            now = next(coming, None)
            while now is not None:
                if sending.cancelled:
                    return progress.last(cancelled=True)
                if monotonic() > deadline:
                    return _too_long(found, progress)
                one, opened = now
                sending.begin(opened)
                now = next(coming, None)  # is read while the asker works on this one
                sending.end(one, opened.source.size)
                if progress.remaining and monotonic() - told >= PENDING_SECONDS:
                    told = monotonic()
                    yield progress.pending()
    return progress.last(cancelled=False)


def _too_long(found: Found, progress: Progress) -> Answer:
    """Give up what is left: it has failed."""
    left = found.instances[len(found.instances) - progress.remaining :]
    progress.fail(*(one.sop_instance_uid for one in left))
    return progress.last()
