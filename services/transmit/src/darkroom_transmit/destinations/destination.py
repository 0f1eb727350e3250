"""A destination as transmit works with it, and when it may be sent to."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from darkroom_common.resources.stored import Stored
from darkroom_common.specs.destinations import DestinationSpec, Window

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_AHEAD: Final = 8
"""Days that are looked at for the next opening: each day of the week, and today once more."""


@dataclass(frozen=True)
class Destination(Stored[DestinationSpec]):
    """A destination in force."""

    def opens_at(self, now: dt.datetime) -> dt.datetime | None:
        """Return when a time window opens next: `now` while one is open; None when none ever is.

        Args:
            now: with its time zone.
        """
        windows = self.spec.windows
        if not windows:
            return now
        return next_opening(windows, ZoneInfo(self.spec.time_zone), now)


def next_opening(windows: Sequence[Window], zone: ZoneInfo, now: dt.datetime) -> dt.datetime | None:
    """Return `now` when a window is open, else the next time that one opens."""
    local = now.astimezone(zone)
    coming: list[dt.datetime] = []
    for window in windows:
        for begin, end in _occurrences(window, zone, local.date()):
            if begin <= now < end:
                return now
            if begin > now:
                coming.append(begin)
    return min(coming, default=None)


def _occurrences(
    window: Window, zone: ZoneInfo, today: dt.date
) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    for offset in range(-1, _AHEAD):
        day = today + dt.timedelta(days=offset)
        if window.days and _DAYS[day.weekday()] not in window.days:
            continue
        last = day if window.end > window.start else day + dt.timedelta(days=1)
        # In UTC: two local times of one zone are compared by the wall clock otherwise.
        yield (
            dt.datetime.combine(day, window.start, zone).astimezone(dt.UTC),
            dt.datetime.combine(last, window.end, zone).astimezone(dt.UTC),
        )
