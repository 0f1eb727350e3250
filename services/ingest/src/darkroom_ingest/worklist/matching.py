"""Which entries an identifier asks for (PS3.4 sections C.2.2.2 and K.4.1.1.3).

The index of the database narrows by what its columns have; the rest is looked at here, when an
entry has been opened.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from darkroom_common.index.matching.data_sets import (
    Test,
    date_of,
    match_of,
    test_of,
    time_of,
    values_at,
)
from darkroom_common.index.matching.values import BadKey, Match, OneOf, Range
from darkroom_ingest.answering.identifier import CHARACTER_SET, BadIdentifier, Key, text_of, vr_of
from darkroom_ingest.worklist.attributes import STEPS, Json, tag_of

_NO_KEYS: Final = frozenset({CHARACTER_SET, "00080201", "00080052"})
MAX_KEYS: Final = 500
MAX_DEPTH: Final = 4
START_DATE: Final = f"{STEPS}.{tag_of('ScheduledProcedureStepStartDate')}"
START_TIME: Final = f"{STEPS}.{tag_of('ScheduledProcedureStepStartTime')}"
STATION: Final = f"{STEPS}.{tag_of('ScheduledStationAETitle')}"
MODALITY: Final = f"{STEPS}.{tag_of('Modality')}"
PATIENT_ID: Final = tag_of("PatientID")
ACCESSION_NUMBER: Final = tag_of("AccessionNumber")
STUDY: Final = tag_of("StudyInstanceUID")


@dataclass(frozen=True)
class Moments:
    """From one moment until another, both included: a range of dates with one of times."""

    low: dt.datetime | None
    high: dt.datetime | None

    def holds(self, entry: Json) -> bool:
        """Tell whether an entry starts in it."""
        dates, times = values_at(entry, START_DATE), values_at(entry, START_TIME)
        for date, time in zip(dates, times, strict=False):
            start = dt.datetime.combine(date_of(date), time_of(time))
            if (self.low is None or self.low <= start) and (
                self.high is None or start <= self.high
            ):
                return True
        return False


@dataclass(frozen=True)
class AskedSteps:
    """What an identifier asks for.

    Attributes:
        wanted: attributes of each answer, by tag.
        tests: all of which have to hold.
        character_set: of the identifier.
        first: the first day that is asked for; None: from the beginning.
        last: the last one.
    """

    wanted: Mapping[str, Key]
    tests: tuple[Test | Moments, ...]
    character_set: str
    first: dt.date | None = None
    last: dt.date | None = None

    def single(self, path: str) -> tuple[str, ...]:
        """Return the values that an attribute is asked to be one of; none: it may be any."""
        for test in self.tests:
            if isinstance(test, Test) and test.path == path and isinstance(test.match, OneOf):
                return test.match.values
        return ()

    @property
    def keywords(self) -> set[str]:
        """What is asked to be something, by keyword; for logs."""
        found = {one.path for one in self.tests if isinstance(one, Test)}
        if any(isinstance(one, Moments) for one in self.tests):
            found |= {START_DATE, START_TIME}
        tags = (int(path.rpartition(".")[2], 16) for path in found)
        return {keyword_for_tag(tag) or f"{tag:08X}" for tag in tags}

    def hold(self, entry: Json) -> bool:
        """Tell whether an entry is asked for."""
        return all(test.holds(entry) for test in self.tests)


def parse_steps(identifier: Dataset, *, fuzzy: bool = False) -> AskedSteps:
    """Return what an identifier asks for.

    Args:
        identifier: its text is decoded.
        fuzzy: person names are matched by how their words begin.

    Raises:
        BadIdentifier: a value suits no kind of matching, or there are too many keys.
    """
    keys = _Keys(fuzzy=fuzzy)
    wanted = keys.read(identifier, "", 0)
    tests: dict[str, Test] = keys.tests
    days = tests.get(START_DATE)
    low = high = None
    if days is not None and isinstance(days.match, Range):
        low, high = _day(days.match.low), _day(days.match.high)
    made: list[Test | Moments] = list(tests.values())
    moments = _moments(tests, keys.ranges)
    if moments is not None:
        made = [one for path, one in tests.items() if path not in (START_DATE, START_TIME)]
        made.append(moments)
    elif START_TIME in tests and _ends_before(tests[START_TIME].match):
        tag = START_TIME.rpartition(".")[2]
        raise BadIdentifier(tag, "is a range that ends before it begins")
    character_set = text_of(identifier, int(CHARACTER_SET, 16)).strip(" ")
    return AskedSteps(wanted, tuple(made), character_set, low, high)


def _moments(tests: Mapping[str, Test], ranges: set[str]) -> Moments | None:
    """Return one span where both date and time are ranges (PS3.4 section K.6.1.2.2)."""
    if not {START_DATE, START_TIME} <= ranges:
        return None
    days, times = tests[START_DATE].match, tests[START_TIME].match
    if not isinstance(days, Range) or not isinstance(times, Range):
        return None
    low, high = _day(days.low), _day(days.high)
    begin = times.low if isinstance(times.low, dt.time) else dt.time.min
    end = times.high if isinstance(times.high, dt.time) else dt.time.max
    return Moments(
        None if low is None else dt.datetime.combine(low, begin),
        None if high is None else dt.datetime.combine(high, end),
    )


def _ends_before(match: Match) -> bool:
    """Tell whether a range of times is none of one day."""
    low, high = (match.low, match.high) if isinstance(match, Range) else (None, None)
    return isinstance(low, dt.time) and isinstance(high, dt.time) and low > high


def _day(point: object) -> dt.date | None:
    return point if isinstance(point, dt.date) else None


@dataclass
class _Keys:
    """Goes through the attributes of an identifier."""

    fuzzy: bool
    tests: dict[str, Test] = field(default_factory=dict)
    ranges: set[str] = field(default_factory=set)
    left: int = MAX_KEYS

    def read(self, data_set: Dataset, above: str, depth: int) -> dict[str, Key]:
        """Return what is wanted, and take what it is asked to be."""
        wanted: dict[str, Key] = {}
        tags = data_set.keys()  # iterating itself decodes every value
        for tag in tags:
            name = f"{tag:08X}"
            self.left -= 1
            if self.left < 0:
                raise BadIdentifier(name, f"more than {MAX_KEYS} keys")
            if name in _NO_KEYS or not tag.element:
                continue
            vr, path = vr_of(data_set, tag), f"{above}{name}"
            if vr != "SQ":
                wanted[name] = Key(vr)
                self._test(path, vr, text_of(data_set, tag), name)
                continue
            if depth == MAX_DEPTH:
                raise BadIdentifier(name, "sequences are nested too deep")
            inner: dict[str, Key] = {}
            for item in data_set[tag].value or ():
                inner |= self.read(item, f"{path}.", depth + 1)
            wanted[name] = Key("SQ", inner)
        return wanted

    def _test(self, path: str, vr: str, text: str, name: str) -> None:
        if not text.strip(" \0*"):
            return
        if path == START_TIME and "-" in text.strip("- \0"):  # it may be one of another day
            low, high = (self._match(one, vr, name) for one in text.split("-", 1))
            if isinstance(low, Range) and isinstance(high, Range):
                self.tests[path] = Test(path, vr, Range(low.low, high.high))
                self.ranges.add(path)
                return
        match = self._match(text, vr, name)
        if match is not None:
            self.tests[path] = test_of(path, vr, match, text)
            if "-" in text and vr in ("DA", "TM"):
                self.ranges.add(path)

    def _match(self, text: str, vr: str, name: str) -> Match | None:
        try:
            return match_of(name, vr, text, fuzzy=self.fuzzy)
        except BadKey as error:
            raise BadIdentifier(name, error.reason) from error
