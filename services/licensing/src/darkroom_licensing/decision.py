"""What is in force, from what is remembered and the time: no I/O, and nothing about patients.

A deadline never takes effect as such: administration becomes read-only at the end of the working
day on which the deadline passed, or on which it was first seen to have passed.

The time is that of the machine, but for two corrections. Odoo signs the time with every document:
by how far ours is off is kept until the next one. And it never goes back behind what was seen:
setting the clock back wins nothing, and a clock that was wrong is forgiven by the next document.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from darkroom_common.messages.events import LicenceNotice, LicenceState
from darkroom_licensing.calendar import WorkingDays
from darkroom_licensing.document import Document

GRACE: Final = dt.timedelta(hours=72)
"""How long nothing is restricted since Odoo was last reached (LIC-02)."""
TOLERANCE: Final = dt.timedelta(minutes=10)
"""By how much clocks may differ."""
LAST_DAY: Final = dt.timedelta(days=1)
_WORTH_TELLING: Final = dt.timedelta(hours=12)
"""An outage of Odoo that is shorter is nobody's business but the metrics'."""

Kind = Literal["ended", "unreachable", "refused", "missing"]
Source = Literal["none", "file", "odoo"]


_BEFORE_END: Final[tuple[tuple[dt.timedelta, LicenceNotice, str], ...]] = (
    (LAST_DAY, "users", "last day"),
    (dt.timedelta(days=7), "users", "last week"),
    (dt.timedelta(days=30), "administrator", "last month"),
)


class Memory(BaseModel):
    """What outlives a restart. All times are corrected ones, see above.

    Attributes:
        document: the one in force, as it was signed; empty: none.
        confirmed_at: when Odoo last answered with a document.
        asked_at: when it was first asked, or a file first expected.
        seen_at: the latest time that was seen.
        skew_seconds: what is added to the machine's clock.
        failure, failing_since: why Odoo does not answer, and since when.
        refusal, refused_at: what Odoo says in the place of a document.
        fault: why a document that was offered is not used.
        overdue: when each deadline was first seen to have passed.
    """

    model_config = ConfigDict(frozen=True)

    document: str = ""
    confirmed_at: AwareDatetime | None = None
    asked_at: AwareDatetime | None = None
    seen_at: AwareDatetime | None = None
    skew_seconds: float = 0.0
    failure: str = ""
    failing_since: AwareDatetime | None = None
    refusal: str = ""
    refused_at: AwareDatetime | None = None
    fault: str = ""
    overdue: dict[Kind, AwareDatetime] = Field(default_factory=dict)

    def time(self, now: dt.datetime) -> dt.datetime:
        """Return the time to go by when the machine's clock says `now`."""
        return max(self._corrected(now), self.seen_at or self._corrected(now))

    def clock_went_back(self, now: dt.datetime) -> dt.timedelta | None:
        """Return how far the clock is behind what was seen, if it is more than clocks differ."""
        behind = self.time(now) - self._corrected(now)
        return behind if behind > TOLERANCE else None

    def _corrected(self, now: dt.datetime) -> dt.datetime:
        try:
            return now + dt.timedelta(seconds=self.skew_seconds)
        except OverflowError:
            return now


@dataclass(frozen=True)
class Standing:
    """What is in force.

    Attributes:
        state: as the events have it.
        reason: a sentence for people; empty when all is well.
        read_only: whether new administrative work is refused.
        read_only_from: since when, or from when on unless something changes.
        notice: who is to be told.
        stage: changes when there is something new to tell; empty when there is nothing.
        document: whose entitlements hold; None: those of the community edition.
    """

    state: LicenceState
    reason: str = ""
    read_only: bool = False
    read_only_from: dt.datetime | None = None
    notice: LicenceNotice = "nobody"
    stage: str = ""
    document: Document | None = None


COMMUNITY: Final = Standing(
    "unconfigured",
    "This is the community edition: it works without a licence, on one machine, without support.",
)


@dataclass(frozen=True)
class _Deadline:
    kind: Kind
    at: dt.datetime
    reason: str
    state: LicenceState


def confirmed(
    memory: Memory, text: str, document: Document, now: dt.datetime, source: Source
) -> Memory:
    """Return what is remembered after a document has come that is newer than the one in force.

    Its time is trusted: Odoo has just signed it. A file may have lain for long, so it only tells
    that the time is not earlier, and forgives a clock that has been ahead when it was read.
    """
    at = document.issued_at if source == "odoo" else max(now, document.issued_at)
    skew = at - now
    return Memory(
        document=text,
        confirmed_at=at,
        asked_at=memory.asked_at or at,
        seen_at=at,
        skew_seconds=skew.total_seconds() if abs(skew) > TOLERANCE else 0.0,
    )


def failed(memory: Memory, why: str, now: dt.datetime) -> Memory:
    """Return what is remembered after Odoo could not be asked."""
    since = memory.failing_since or memory.time(now)
    return memory.model_copy(update={"failure": why, "failing_since": since})


def refused(memory: Memory, why: str, now: dt.datetime) -> Memory:
    """Return what is remembered after Odoo has answered that there is no licence."""
    at = memory.time(now)
    return memory.model_copy(
        update={
            "refusal": why,
            "refused_at": memory.refused_at or at,
            "failure": "",
            "failing_since": None,
        }
    )


def observed(memory: Memory, document: Document | None, source: Source, now: dt.datetime) -> Memory:
    """Return what is remembered of a look at the clock: `decide` goes by it."""
    at = memory.time(now)
    memory = memory.model_copy(update={"seen_at": at, "asked_at": memory.asked_at or at})
    overdue = {
        one.kind: memory.overdue.get(one.kind, at)
        for one in _deadlines(memory, document, source)
        if one.at <= at
    }
    return memory.model_copy(update={"overdue": overdue})


def decide(
    memory: Memory,
    document: Document | None,
    source: Source,
    now: dt.datetime,
    working: WorkingDays,
) -> Standing:
    """Return what is in force.

    Args:
        memory: after `observed` at `now`.
        document: that of the memory, read.
        source: where licences come from here.
        now: of the machine's clock.
        working: when a deadline takes effect.
    """
    if source == "none":
        return COMMUNITY
    at = memory.time(now)
    due = {
        one: working.end_of_day(max(one.at, memory.overdue.get(one.kind, one.at)))
        for one in _deadlines(memory, document, source)
    }
    if not due:
        return _with_clock(Standing("valid", document=document), memory, now, working)
    # What already holds comes first, then what has passed, then what is ahead.
    first = min(due, key=lambda one: (due[one], one.at))
    since, left = due[first], due[first] - at
    read_only = left <= dt.timedelta()
    told = _notice(first, at, left)
    if told is None and not read_only:
        return _with_clock(
            Standing("valid", read_only_from=_ahead(due), document=document), memory, now, working
        )
    when = "has been read-only since" if read_only else "becomes read-only on"
    why = " ".join([first.reason, *(one.reason for one in due if one.at <= at and one != first)])
    reason = f"{why} Administration {when} {working.shown(since)}; patient data goes on."
    state: LicenceState = first.state
    if first.at > at:
        state = "valid" if first.kind == "ended" else "grace"
    elif not read_only and first.kind != "refused":
        state = "grace"
    notice: LicenceNotice = "users"
    stage = "read-only"
    if told is not None and not read_only:
        notice, stage = told
    standing = Standing(
        state,
        reason,
        read_only=read_only,
        read_only_from=since,
        notice=notice,
        stage=f"{first.kind}: {stage}" if stage else "",
        document=document,
    )
    return _with_clock(standing, memory, now, working)


def _ahead(due: dict[_Deadline, dt.datetime]) -> dt.datetime | None:
    return min((moment for one, moment in due.items() if one.kind == "ended"), default=None)


def _deadlines(memory: Memory, document: Document | None, source: Source) -> Iterator[_Deadline]:
    """Yield what ends what is in force, unless something changes."""
    asked = memory.asked_at or memory.seen_at
    if memory.refused_at is not None:
        since_then = f" It cannot be asked again: {memory.failure}." if memory.failure else ""
        yield _Deadline(
            "refused",
            memory.refused_at,
            f"The licence server says: {memory.refusal.rstrip('.')}.{since_then}",
            "invalid",
        )
    if source == "none" or asked is None:
        return
    why = memory.failure or memory.fault
    if document is None:
        nothing = "There is no licence yet" if source == "odoo" else "There is no licence file"
        because = f": {why}" if why else ""
        yield _Deadline("missing", asked + GRACE, f"{nothing}{because}.", "invalid")
        return
    if document.valid_until is not None:
        yield _Deadline(
            "ended",
            document.valid_until,
            f"The licence ends on {document.valid_until:%Y-%m-%d %H:%M} UTC.",
            "expired",
        )
    if source == "odoo" and why and memory.failing_since is not None:
        since = memory.confirmed_at or asked
        yield _Deadline(
            "unreachable",
            since + GRACE,
            f"The licence has not been confirmed since {since:%Y-%m-%d %H:%M} UTC: {why}.",
            "expired",
        )


def _notice(
    one: _Deadline, at: dt.datetime, left: dt.timedelta
) -> tuple[LicenceNotice, str] | None:
    """Return who is to be told of a deadline ahead, and the stage; None: nobody yet."""
    if one.kind == "refused":
        return "users", "today"
    for within, notice, stage in _BEFORE_END:
        if left <= within and (one.kind == "ended" or within == LAST_DAY):
            return notice, stage
    if one.kind == "ended":
        return None
    return "administrator", "waiting" if one.at - at <= GRACE - _WORTH_TELLING else ""


def _with_clock(
    standing: Standing, memory: Memory, now: dt.datetime, working: WorkingDays
) -> Standing:
    """Return a standing that says so when the time is not that of the machine's clock."""
    behind = memory.clock_went_back(now)
    if behind is None and not memory.skew_seconds:
        return standing
    time = working.shown(memory.time(now))
    wrong = "has gone back" if behind is not None else "differs from the licence server's"
    reason = f"The clock of the machine {wrong}: licences go by {time}. {standing.reason}".strip()
    notice = "administrator" if standing.notice == "nobody" else standing.notice
    return Standing(
        standing.state,
        reason,
        read_only=standing.read_only,
        read_only_from=standing.read_only_from,
        notice=notice,
        stage=standing.stage or "clock",
        document=standing.document,
    )
