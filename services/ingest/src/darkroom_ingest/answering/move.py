"""C-MOVE as a handler (PS3.4 section C.4.2): transmit sends, and is asked how far it is.

What is to be sent goes to transmit as a command that survives everybody's restart; whoever has
asked hears how far the job is for as long as the association lives. A job goes on without it.
"""

import asyncio
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from darkroom_common.clock import monotonic
from darkroom_common.dimse.serving import Answer, Handler, Request, Service
from darkroom_common.dimse.statuses import MOVE_DESTINATION_UNKNOWN, UNABLE_TO_SEND
from darkroom_common.dimse.wire.command import CommandField, Element
from darkroom_common.errors import TransientError
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import SendObjects
from darkroom_common.messages.requests import ActOnJob, FindDestination, FollowJob
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.answering.archive import Archive
from darkroom_ingest.answering.find import agreed
from darkroom_ingest.answering.named import MODELS
from darkroom_ingest.answering.progress import Progress
from darkroom_ingest.answering.retrieving import Desk, Found, Refused
from darkroom_ingest.senders.admission import is_ae_title

log = get_logger(__name__)
PUBLISH_SECONDS: Final = 10.0
FIRST_LOOK: Final = 0.02
LAST_LOOK: Final = 0.5
_LATER: Final = 1.2
"""Seconds until the first look at a job, until each of the last, and how they grow."""
END_SECONDS: Final = 30.0
"""In which a job that was cancelled has to end."""
_PRIORITIES: Final = {1: "high", 2: "low"}
_AWAY: Final = "what sends is away"


def moving(desk: Desk) -> Service:
    """Return the service of C-MOVE, of all information models."""

    def answer(request: Request) -> Iterator[Answer]:
        title = request.command.text(Element.MOVE_DESTINATION)
        shown = title if is_ae_title(title) else ""
        return desk.answer(request, partial(_move, desk, shown), destination=shown)

    return Service(
        sop_classes=tuple(model["move"] for model in MODELS),
        handlers={CommandField.C_MOVE: Handler(answer)},
        extended=lambda wanted: agreed(wanted)[:1],
    )


@dataclass
class _Job:
    """A job of transmit, as it is seen from here.

    Attributes:
        over: whether it has ended.
        done: how many of its instances have come to something, as far as is known.
    """

    archive: Archive
    id: str
    by: str
    over: bool = False
    done: int = 0

    def look(self, pause: float, progress: Progress, *, named: bool = False) -> dict[str, Any]:
        """Ask how far it is after some time, or when it is over; nothing while nobody can say.

        Args:
            pause: seconds.
            progress: takes the counts.
            named: have named what was not sent.
        """
        began = monotonic()
        told = self._told(pause, progress, named=named)
        left = pause - (monotonic() - began)
        if left > 0 and not self.over:  # whoever was asked does not wait: it is asked less
            self.archive.begin(asyncio.sleep(left)).result()
        return told

    def _told(self, pause: float, progress: Progress, *, named: bool) -> dict[str, Any]:
        question = FollowJob(job_id=self.id, named=named, seconds=pause)
        try:
            reply = self.archive.ask(question, within=pause)
        except TransientError as error:  # transmit or the broker is away: the job is kept there
            log.info("retrieval.waits", job=self.id, reason=type(error).__name__)
            return {}
        if reply.outcome != "done":
            return {}
        body: dict[str, Any] = reply.body
        self.over = bool(body["over"])
        progress.remaining -= body["sent"] + body["failed"] - self.done
        self.done = body["sent"] + body["failed"]
        progress.completed = body["sent"] - body["warned"]
        progress.warned, progress.failed = body["warned"], body["failed"]
        return body

    def cancel(self) -> None:
        """Have it sent no further."""
        question = ActOnJob(job_id=self.id, action="cancel", requested_by=self.by)
        try:
            self.archive.ask(question)
        except TransientError as error:
            log.warning("retrieval.not_cancelled", job=self.id, reason=type(error).__name__)


async def _order(archive: Archive, command: SendObjects) -> None:
    broker = await archive.broker()
    async with asyncio.timeout(PUBLISH_SECONDS):
        await broker.publish(command)


def _destination(desk: Desk, title: str, caller: str) -> tuple[str, str]:
    """Return name and id of the destination that a title is of.

    Raises:
        Refused: there is none, nobody can say, or the caller has too many moves under way.
    """
    if not title:
        raise Refused(MOVE_DESTINATION_UNKNOWN, "no AE title")
    archive = desk.archive
    question = FindDestination(ae_title=title, originator=caller)
    try:
        reply = archive.ask(question)
    except TransientError as error:
        raise Refused(UNABLE_TO_SEND, _AWAY) from error
    if reply.outcome == "not-found":
        raise Refused(MOVE_DESTINATION_UNKNOWN, "no destination has this AE title")
    if reply.outcome != "done":
        raise Refused(UNABLE_TO_SEND, _AWAY)
    if reply.body["moves"] >= desk.settings.retrieve_moves:
        raise Refused(UNABLE_TO_SEND, "more than RETRIEVE_MOVES")
    return reply.body["name"], reply.body["id"]


def _move(
    desk: Desk, title: str, request: Request, found: Found, progress: Progress
) -> Generator[Answer, None, Answer]:
    """Have sent what was found; yield pending answers and return the last one."""
    caller = request.caller.calling_ae_title
    name, known_as = _destination(desk, title, caller)
    if not found.instances:
        return progress.last()
    uids = tuple(dict.fromkeys(one.sop_instance_uid for one in found.instances))
    job = _Job(desk.archive, new_message_id(), f"C-MOVE {caller}")
    command = SendObjects(
        job_id=job.id,
        destination=name,
        destination_id=known_as,
        sop_instance_uids=uids,
        priority=_PRIORITIES.get(request.command.short(Element.PRIORITY), "medium"),
        requested_by=job.by,
        originator=caller,
        originator_message_id=request.command.message_id,
        most_moves=desk.settings.retrieve_moves,
    )
    try:
        desk.archive.begin(_order(desk.archive, command)).result()
    except (TransientError, TimeoutError) as error:
        # It may have been taken all the same: then it is sent, as it was asked for.
        raise Refused(UNABLE_TO_SEND, _AWAY) from error
    log.info("retrieval.ordered", ae=caller, destination=name, job=job.id)
    yield from _followed(desk, request, job, progress)
    if not job.over:
        job.cancel()
    told = _ending(job, progress)
    progress.named = list(told.get("failed_uids", uids))
    if not request.cancelled:
        progress.fail(*told.get("left_uids", ()))
        progress.failed += progress.remaining  # of which nobody can say what has become
        progress.remaining = 0
    metrics.RETRIEVED.labels("completed").inc(progress.completed)
    metrics.RETRIEVED.labels("warned").inc(progress.warned)
    metrics.RETRIEVED.labels("failed").inc(progress.failed)
    return progress.last(cancelled=request.cancelled)


def _followed(
    desk: Desk, request: Request, job: _Job, progress: Progress
) -> Generator[Answer, None, None]:
    """Yield pending answers until a job is over, or nothing comes of it any more."""
    settings = desk.settings
    began = moved = monotonic()
    pause = FIRST_LOOK
    while not request.cancelled:
        before = job.done
        job.look(pause, progress)
        now = monotonic()
        if job.done > before:
            moved = now
        if job.over or now - began > settings.retrieve_seconds:
            return
        if now - moved > settings.move_silence_seconds:
            log.warning("retrieval.given_up", job=job.id, reason="nothing was sent for too long")
            return
        yield progress.pending()
        pause = min(LAST_LOOK, pause * _LATER)


def _ending(job: _Job, progress: Progress) -> dict[str, Any]:
    """Return what a job that is over has come to; nothing when nobody says it for too long."""
    deadline = monotonic() + END_SECONDS
    while monotonic() < deadline:
        told = job.look(FIRST_LOOK, progress, named=True)
        if job.over and told:
            return told
    return {}
