"""What transmit answers to requests: the real outcome, not a promise."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from darkroom_common.clock import monotonic
from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.echoes.echo import Echo
from darkroom_common.echoes.rounds import Rounds
from darkroom_common.jobs.operator import Operator
from darkroom_common.messages.base import Reply, Request
from darkroom_common.messages.requests import (
    ActOnJob,
    DryRunRules,
    EchoDestination,
    FindDestination,
    FollowJob,
)
from darkroom_common.postgres.pool import Database
from darkroom_common.resources.answers import ResourceAnswers, refused
from darkroom_common.resources.resource import Refusal
from darkroom_common.seal import Seal
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.commitment.asked import AskedCommitments
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.routing.router import Router
from darkroom_transmit.sending.following import Followers
from darkroom_transmit.sending.repository import SendJobs
from darkroom_transmit.sending.sender import Sender

log = get_logger(__name__)


@dataclass(frozen=True)
class Answers:
    """Answers the requests of the queue `transmit.requests`."""

    resources: ResourceAnswers
    configuration: Configuration
    senders: Mapping[str, Sender]
    router: Router
    operator: Operator
    seal: Seal
    threads: Executor
    rounds: Rounds[Destination]
    database: Database
    commitments: AskedCommitments
    followers: Followers
    monotonic: Callable[[], float] = monotonic

    async def __call__(self, message: Request) -> Reply:
        """Do what is asked and say what came of it."""
        try:
            answered = await self.resources.answer(message) or await self.commitments.answer(
                message
            )
            return answered or await self._answer(message)
        except Refusal as error:
            return refused(error)

    async def _answer(self, message: Request) -> Reply:
        match message:
            case EchoDestination():
                return await self._echo(message.name)
            case DryRunRules():
                return await self._dry_run(message)
            case ActOnJob():
                return await self.operator.act(
                    message.job_id, message.action, by=message.requested_by
                )
            case FindDestination():
                return await self._find(message)
            case FollowJob():
                return await self._follow(message)
            case _:
                raise TypeError(f"transmit.requests got {message.TYPE}")

    async def _echo(self, name: str) -> Reply:
        destination = await self.configuration.named(name)
        sender = self.senders.get(destination.spec.kind)
        if sender is None:
            return Reply(outcome="invalid", reason="this kind of destination is not available")
        began = self.monotonic()
        reason = ""
        detail = ""
        try:
            await sender.echo(destination, self.threads)
        except PeerFault as fault:
            reason, detail = fault.reason, fault.detail
        took = self.monotonic() - began
        await self.rounds.keep(destination, Echo(reason, took))
        log.info("destination.tested", destination=name, reason=reason or "well")
        told = {"ok": not reason, "reason": reason, "detail": detail, "seconds": round(took, 4)}
        return Reply(outcome="done", body=told)

    async def _find(self, message: FindDestination) -> Reply:
        """Return the destination of a title that can be sent to; of several the first by name."""
        known = await self.configuration.usable()
        for name in sorted(known):
            spec = known[name].spec
            if spec.enabled and spec.kind == "dimse" and spec.ae_title == message.ae_title:
                async with self.database.acquire() as db:
                    moves = await SendJobs.moves(db, message.originator)
                told = {"name": name, "id": known[name].id, "moves": moves}
                return Reply(outcome="done", body=told)
        return Reply(outcome="not-found", reason="no destination has this AE title")

    async def _follow(self, message: FollowJob) -> Reply:
        found = await self.followers.follow(
            message.job_id, named=message.named, seconds=message.seconds
        )
        if found is None:
            return Reply(outcome="not-found", reason="there is no such job yet")
        return Reply(outcome="done", body=found)

    async def _dry_run(self, message: DryRunRules) -> Reply:
        explained = await self.router.explain(message.study_instance_uid)
        if explained is None:
            return Reply(outcome="not-found", reason="there is no such study")
        return Reply(outcome="done", sealed=self.seal.seal(explained, purpose=message.TYPE))
