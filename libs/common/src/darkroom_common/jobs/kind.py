"""What a kind of job is: its table, the words of its phases, and what only it does.

All else is the engine's. A kind's table has the columns `reason`, `next_at`, `wait_seconds`,
`lease_owner`, `lease_until`, `created_at`, `updated_at`, `finished_at` and `traceparent`, and those
that the kind names.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from asyncpg import Record as Row

from darkroom_common.jobs.attempt import Attempt, Ending, retry_or_fail
from darkroom_common.messages.base import Message
from darkroom_common.messages.events import JobChanged
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.destinations import Backoff

__all__ = ["A", "Action", "JobKind", "Phases", "Row", "told", "usual_actions"]
A = TypeVar("A", bound=Attempt)
Action = Literal["retry", "cancel", "confirm", "pause", "resume"]


@dataclass(frozen=True)
class Phases:
    """The words of a kind for what its jobs can be in.

    Attributes:
        working: the first is entered by the claim, the others by the work.
        ended_well: what tidy removes after a while, with what was cancelled.
        doubtful: nobody knows whether it is done; only an operator goes on from there.
    """

    waiting: str
    working: tuple[str, ...]
    retrying: str
    ended_well: tuple[str, ...]
    failed: str
    cancelled: str = ""
    doubtful: str = ""

    @property
    def over(self) -> tuple[str, ...]:
        """What nothing leads on from but an operator."""
        ends = (*self.ended_well, self.failed, self.cancelled, self.doubtful)
        return tuple(word for word in ends if word)

    @property
    def forgotten(self) -> tuple[str, ...]:
        """What is removed in the end."""
        return tuple(word for word in (*self.ended_well, self.cancelled) if word)

    @property
    def shown(self) -> tuple[str, ...]:
        """What people want to see numbers of: all but what has ended well."""
        words = (self.waiting, *self.working, self.retrying, self.doubtful, self.failed)
        return tuple(dict.fromkeys(word for word in words if word))


def usual_actions(phases: Phases) -> dict[tuple[Action, str], str]:
    """Return what an operator can do with jobs whose work may end at any moment."""
    actions: dict[tuple[Action, str], str] = {}
    for state in (phases.failed, phases.cancelled, phases.retrying):
        actions["retry", state] = phases.waiting
    for state in (phases.waiting, phases.retrying, *phases.working):
        actions["cancel", state] = phases.cancelled
    return actions


def pausing(phases: Phases, paused: str) -> dict[tuple[Action, str], str]:
    """Return what an operator can do with jobs that may rest in a state of their own."""
    actions = usual_actions(phases)
    for state in (phases.waiting, phases.retrying, *phases.working):
        actions["pause", state] = paused
    actions["resume", paused] = phases.waiting
    actions["cancel", paused] = phases.cancelled
    return actions


def told(kind: Literal["retrieve", "export", "bulk"], lane: str) -> Callable[[Row], JobChanged]:
    """Return what makes the event of a kind that has none of its own; `lane` is its column."""

    def event(row: Row) -> JobChanged:
        return JobChanged(
            kind=kind,
            job_id=row["id"],
            lane=row[lane],
            state=row["state"],
            reason=row["reason"][:500],
        )

    return event


async def _nothing_more(_: Connection, __: Any) -> None:
    """Do nothing: most kinds need this or that hook alone."""


async def _no_columns(_: Connection, __: Row, ___: Action) -> Mapping[str, Any]:
    return {}


async def _nothing_written(_: Connection, __: Any, ___: Ending) -> None:
    """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class JobKind(Generic[A]):
    """A kind of job.

    Attributes:
        name: in logs, spans and metrics.
        table: with its schema.
        lane: the column of what jobs queue for: a destination, a printer.
        attempt: what a claim makes.
        state, key, tries, attempts: columns; `attempts` is empty where claims are not counted.
        where: SQL that says which rows of the table are jobs of this kind.
        rank: SQL of the order: the smaller goes first.
        target: the column of the id of what jobs are for, if their lane's name is not enough.
        targets: the table with `id` and `name` of what there is of that.
        removed: the reason of a job that ends since what it was for is gone.
        alone: whether one job of a lane is worked at at a time, over all processes.
        most: jobs of all lanes that are worked at at a time, over all processes; 0: any number.
        progress: columns that renewals write, with their types.
        actions: what an operator can do: the state after, by action and state before.
        event: makes of a row what is published when it has entered a state; None for nothing.
        change: the word for it in the log of changes of its schema.
        removable: SQL that says which of the jobs that have ended may be removed.
        removed_at_once: jobs in one transaction.
        claimed: loads what the work needs; an ending that it returns is the end of the attempt.
        finished: writes what goes with the end of an attempt.
        acted: writes what goes with an operator's action; returns columns to set, `state` included.
        orphaned: writes what goes with the end of a job, of its row, that what it was for is gone.
        entered: is called with each row that has entered a state, after its event was put.

    The hooks run in the transaction of what they belong to.
    """

    name: str
    table: str
    lane: str
    phases: Phases
    attempt: type[A]
    state: str = "state"
    key: str = "id"
    tries: str = "tries"
    attempts: str = "attempts"
    where: str = "true"
    rank: str = "extract(epoch FROM created_at)"
    target: str = ""
    targets: str = ""
    removed: str = "DestinationRemoved"
    alone: bool = False
    most: int = 0
    progress: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[tuple[Action, str], str] = field(default_factory=dict)
    event: Callable[[Row], Message] | None = None
    change: str = "job"
    removable: str = "true"
    removed_at_once: int = 100
    claimed: Callable[[Connection, A], Awaitable[Ending | None]] = _nothing_more
    finished: Callable[[Connection, A, Ending], Awaitable[None]] = _nothing_written
    acted: Callable[[Connection, Row, Action], Awaitable[Mapping[str, Any]]] = _no_columns
    orphaned: Callable[[Connection, Row], Awaitable[None]] = _nothing_more
    entered: Callable[[Connection, Row], Awaitable[None]] | None = None

    @property
    def schema(self) -> str:
        """The schema of its table."""
        return self.table.partition(".")[0]

    def again(self, attempt: A, backoff: Backoff, reason: str, chance: float) -> Ending:
        """Return the ending of an attempt that has failed and may work later."""
        phases = self.phases
        return retry_or_fail(
            attempt, backoff, reason, retrying=phases.retrying, failed=phases.failed, chance=chance
        )

    def given_back(self) -> Ending:
        """Return the ending of an attempt that was interrupted: the job begins again at once."""
        return Ending(self.phases.waiting)
