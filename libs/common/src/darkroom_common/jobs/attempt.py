"""One attempt at a job while it is in the hands of this process, and how an attempt ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from asyncpg import Record
from opentelemetry.trace import Link

from darkroom_common.backoff import delay
from darkroom_common.specs.destinations import Backoff

Stop = Literal["lost", "stopping", "now"]
"""`lost`: the job is ours no more. `stopping`: the process ends. `now`: it waits no longer."""
REASON_LENGTH: Final = 500


@dataclass(frozen=True)
class Ending:
    """How an attempt ends.

    Attributes:
        state: of the job from now on.
        reason: for people, without PHI.
        wait: seconds until the job may be claimed again, if its state waits.
        counts: whether the attempt counts for the back-off.
        columns: further columns of the job's row, and their values.
        remembered: whether this process keeps `wait` by its own clock as well; not where another
            process may have the job tried at once.
    """

    state: str
    reason: str = ""
    wait: float = 0.0
    counts: bool = False
    columns: Mapping[str, Any] = field(default_factory=dict)
    remembered: bool = True


@dataclass(eq=False)
class Attempt:
    """A claimed job. A kind that loads more with it derives from this.

    Attributes:
        id: of the job.
        lane: to which its kind says that it belongs.
        number: of this attempt, from 1.
        tries: attempts before this one that count for the back-off.
        progressed: whether this one has brought the job nearer to its end: what can go on so comes
            to it, and no attempt counts until one brings nothing.
        rank: the smaller goes first.
        row: the job's row as it was claimed.
        traceparent: of whoever asked for the job.
        stopped: why the work is to end; empty while it is not.
        links: of its span.
        backoff: when it is tried again, as far as the work does not say.
    """

    id: str
    lane: str
    number: int
    tries: int
    rank: float
    row: Record
    traceparent: str = ""
    stopped: Literal["", "lost", "stopping"] = ""
    progressed: bool = False
    links: list[Link] = field(default_factory=list)
    backoff: Backoff = field(default_factory=Backoff)
    _said: list[Stop] = field(default_factory=list)
    _told: list[Callable[[Stop], None]] = field(default_factory=list)

    @property
    def trace(self) -> dict[str, str]:
        """The trace headers of whoever asked for the job."""
        return {"traceparent": self.traceparent} if self.traceparent else {}

    def progress(self) -> dict[str, Any]:
        """Return the columns that each renewal of the lease writes; see `JobKind.progress`."""
        return {}

    def when_stopped(self, tell: Callable[[Stop], None]) -> None:
        """Have a function called with each reason why the work is to end, whenever one comes."""
        self._told.append(tell)
        for why in self._said:
            tell(why)

    def stop(self, why: Stop) -> None:
        """Have the work end."""
        if why in self._said:
            return
        self._said.append(why)
        if why != "now":
            self.stopped = "lost" if "lost" in self._said else "stopping"
        for tell in self._told:
            tell(why)


def retry_or_fail(  # noqa: PLR0913 - all but three by keyword
    attempt: Attempt,
    backoff: Backoff,
    reason: str,
    *,
    retrying: str,
    failed: str,
    chance: float,
    columns: Mapping[str, Any] | None = None,
) -> Ending:
    """Return the ending of an attempt that has failed and may work later: the last one is final."""
    given = columns or {}
    if attempt.progressed:
        return Ending(retrying, reason, wait=delay(backoff, 0, chance), columns=given)
    if attempt.tries + 1 >= backoff.max_attempts:
        return Ending(failed, reason, counts=True, columns=given)
    wait = delay(backoff, attempt.tries, chance)
    return Ending(retrying, reason, wait=wait, counts=True, columns=given)
