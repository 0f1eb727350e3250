"""Which studies a source has: the newest first, in times short enough for its answers."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.dimse.users.find import Refused
from darkroom_common.postgres.pool import Database
from darkroom_common.seal import Seal
from darkroom_common.specs.remote import MigrationSpec
from darkroom_transmit.migration.files import FoundFile, look, of_medium, walk
from darkroom_transmit.migration.repository import CURSOR, MigrationJob
from darkroom_transmit.migration.source import MOST_STUDIES, Archive, Found, Times
from darkroom_transmit.migration.studies import Studies

FIRST_SPAN: Final = 30
LONGEST_SPAN: Final = 3660
EARLIEST: Final = dt.date(1900, 1, 1)
FILES_AT_ONCE: Final = 100
_LISTED: Final = (
    "UPDATE transmit.migration SET listed = true, undated = $2, updated_at = now() WHERE id = $1"
)


@dataclass(frozen=True)
class Cursor:
    """How far an archive is listed: down to the day `until`, by so many days at a time."""

    until: dt.date
    span: int = FIRST_SPAN

    @classmethod
    def of(cls, kept: Any, spec: MigrationSpec, today: dt.date) -> "Cursor":
        """Return where to go on; at first behind the last day, or behind tomorrow."""
        if kept:
            return cls(dt.date.fromisoformat(kept["until"]), kept["span"])
        return cls((spec.date_to or today + dt.timedelta(days=1)) + dt.timedelta(days=1))

    def times(self, spec: MigrationSpec) -> Times | None:
        """Return the days that come next; None when all are listed."""
        last, first = self.until - dt.timedelta(days=1), spec.date_from or EARLIEST
        if last < first:
            return None
        return Times(max(first, last - dt.timedelta(days=self.span - 1)), last)

    def after(self, times: Times, found: int) -> "Cursor":
        """Return where to go on when these days are listed: by more days where there is little."""
        span = self.span
        if found < MOST_STUDIES // 4:
            span = min(LONGEST_SPAN, span * 2)
        return Cursor(times.first, span)

    def kept(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return {"until": self.until.isoformat(), "span": self.span}


@dataclass(frozen=True)
class Listing:
    """Lists the source of a migration.

    Attributes:
        in_thread: does what blocks.
    """

    job: MigrationJob
    spec: MigrationSpec
    studies: Studies
    database: Database
    seal: Seal
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]

    def _kept(self) -> Any:
        text = self.job.row["cursor"]
        return self.seal.open(text, purpose=CURSOR) if text else None

    async def archive(self, archive: Archive, today: dt.date) -> None:
        """List an archive that answers questions.

        Raises:
            PeerFault: it does not.
        """
        cursor = Cursor.of(self._kept(), self.spec, today)
        while (times := cursor.times(self.spec)) is not None and not self.job.over.is_set():
            found, more = await self._asked(archive, times)
            if more and times.first < times.last:
                cursor = replace(cursor, span=max(1, ((times.last - times.first).days + 1) // 2))
                continue
            if more:
                found = [*found, *await self._day(archive, times)]
            cursor = cursor.after(times, len(found))
            await self._add(found, cursor.kept())
        if self.job.over.is_set():
            return
        undated = ""
        if self.spec.date_from is None and self.spec.date_to is None:
            undated = await self._undated(archive)
        await self._end(undated)

    async def _asked(self, archive: Archive, times: Times | None) -> tuple[list[Found], bool]:
        found: tuple[list[Found], bool] = await self.in_thread(lambda: archive.studies(times))
        return found

    async def _day(self, archive: Archive, times: Times) -> list[Found]:
        """Return what a day has that has more than one answer holds: by hours, and minutes."""
        found: list[Found] = []
        for hour in range(24):
            some, more = await self._asked(
                archive, replace(times, hours=(f"{hour:02}0000", f"{hour:02}5959"))
            )
            found += some
            for minute in range(60) if more else ():
                at = f"{hour:02}{minute:02}"
                some, more = await self._asked(
                    archive, replace(times, hours=(f"{at}00", f"{at}59"))
                )
                if more:
                    raise PeerFault("TooManyInAMinute", transient=False)
                found += some
        return found

    async def _undated(self, archive: Archive) -> str:
        """List studies without a date, which no time finds; return why that cannot be."""
        try:
            found, more = await self._asked(archive, None)
        except Refused as fault:
            return fault.reason
        await self._add([one for one in found if one.study_date is None], None)
        return "TooMany" if more else ""

    async def _add(self, found: Sequence[Found], cursor: Any) -> None:
        wanted = [one for one in found if self._wanted(one)]
        async with self.database.transaction() as db:
            await self.studies.add(db, wanted, cursor=cursor)

    def _wanted(self, one: Found) -> bool:
        if self.spec.modalities and one.modalities:
            return bool(one.modalities & {*self.spec.modalities})
        return True

    def _dated(self, one: Found) -> bool:
        first, last = self.spec.date_from, self.spec.date_to
        if first is None and last is None:
            return True
        day = one.study_date
        return day is not None and (first or day) <= day <= (last or day)

    async def files(self, top: Path) -> None:
        """List files: all of them before the first is copied, since they come in no order.

        Raises:
            BadDirectory: they cannot be read.
        """
        kept = self._kept() or {"path": ""}
        async for some in self._batches(top, kept["path"]):
            wanted = [
                one
                for one in some
                if one.problem or (self._wanted(one.found) and self._dated(one.found))
            ]
            async with self.database.transaction() as db:
                await self.studies.add_files(db, wanted, {"path": some[-1].path})
            if self.job.over.is_set():
                return
        await self._end("")

    async def _batches(self, top: Path, after: str) -> AsyncIterator[list[FoundFile]]:
        if self.spec.way == "dicomdir":
            found = (one for one in of_medium(top) if not after or one.path > after)
        else:
            found = (look(top, path) for path in walk(top, after))
        while some := await self.in_thread(lambda: list(islice(found, FILES_AT_ONCE))):
            yield some

    async def _end(self, undated: str) -> None:
        async with self.database.transaction() as db:
            await db.execute(_LISTED, self.job.id, undated)
