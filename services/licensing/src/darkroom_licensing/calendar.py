"""Days as the people of a clinic have them: when a working day ends."""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

EARLIEST_END: Final = dt.time(15)
LATEST_END: Final = dt.time(22)
"""A working day ends between these: whatever is set, nothing changes in the night."""
_DAYS: Final = 8


@dataclass(frozen=True)
class WorkingDays:
    """Which days are worked on, and until when.

    Attributes:
        zone: of the clinic.
        ends: the time of day there.
        days: 1 is Monday, 7 Sunday; at least one.
    """

    zone: ZoneInfo
    ends: dt.time
    days: Collection[int]

    def end_of_day(self, moment: dt.datetime) -> dt.datetime:
        """Return the first end of a working day that is not before a moment, in UTC."""
        today = moment.astimezone(self.zone).date()
        for ahead in range(_DAYS):
            day = today + dt.timedelta(days=ahead)
            end = dt.datetime.combine(day, self.ends, self.zone).astimezone(dt.UTC)
            if day.isoweekday() in self.days and end >= moment:
                return end
        raise ValueError("no day is a working day")

    def shown(self, moment: dt.datetime) -> str:
        """Return a moment as people there read it."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M} ({self.zone.key})"
