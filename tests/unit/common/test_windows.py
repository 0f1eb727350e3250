"""How far back a page of many matches is looked for."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.matching import windows
from darkroom_common.index.matching.values import Empty, Range
from darkroom_common.index.matching.windows import Days, Window, undated, window_of
from darkroom_common.index.query import Condition, Query

MILLION = 1_000_000
NAME = Query(Level.STUDY, words=("smith",), limit=20)
DATE, TIME = BY_KEYWORD["StudyDate"], BY_KEYWORD["StudyTime"]
JUNE = Condition(DATE, Range(dt.date(2024, 6, 1), dt.date(2024, 6, 30)))


def test_twice_as_many_as_a_page_needs_are_expected_in_a_window() -> None:
    window = window_of(NAME, 14_000, MILLION)
    assert window == Window(3 * 1024, dt.date.max)
    assert window.studies * 14_000 / MILLION > 2 * NAME.limit


@pytest.mark.parametrize(
    ("query", "matches", "every"),
    [
        (NAME, 100_000, MILLION),  # so many that a page of them is soon gone through
        (NAME, 5, MILLION),  # so few that nearly all are looked at
        (NAME, 0, MILLION),
        (NAME, 14_000, 0),
        (replace(NAME, offset=9_000), 14_000, MILLION),
        (replace(NAME, after=(None, 17)), 14_000, MILLION),  # what has no date is in no window
        (replace(NAME, conditions=(Condition(DATE, Empty()),)), 14_000, MILLION),
        (
            replace(NAME, conditions=(JUNE, Condition(TIME, Range(None, dt.time(8))))),
            14_000,
            MILLION,
        ),
    ],
)
def test_there_is_no_window_where_it_saves_nothing(query: Query, matches: int, every: int) -> None:
    assert window_of(query, matches, every) is None


@pytest.mark.parametrize(
    ("dates", "after", "until"),
    [
        ((JUNE,), None, dt.date(2024, 6, 30)),
        ((), (dt.date(2023, 1, 2), 17), dt.date(2023, 1, 2)),
        ((JUNE,), (dt.date(2024, 6, 2), 17), dt.date(2024, 6, 2)),
        ((Condition(DATE, Range(dt.date(2024, 6, 1), None)),), None, dt.date.max),
    ],
)
def test_a_window_ends_where_the_page_begins(
    dates: tuple[Condition, ...], after: tuple[dt.date, int] | None, until: dt.date
) -> None:
    query = replace(NAME, conditions=dates, after=after)
    window = window_of(query, 14_000, MILLION)
    assert window is not None
    assert window.until == until
    assert undated(query) == Query(Level.STUDY, conditions=dates)
    narrowed = window.narrowed(query, dt.date(2022, 1, 1))
    assert narrowed == replace(
        query, conditions=(*dates, Condition(DATE, Range(dt.date(2022, 1, 1), until)))
    )


def test_a_window_that_was_too_small_is_opened_wider_and_not_for_ever() -> None:
    window: Window | None = window_of(NAME, 14_000, MILLION)
    sizes = []
    while window is not None:
        assert window.until == dt.date.max
        sizes.append(window.studies)
        window = window.wider
    assert sizes == [3 * 1024, 12 * 1024, 48 * 1024]


async def test_a_day_is_asked_for_once_in_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[Any]] = []

    async def ask(_: str, values: list[Any]) -> list[tuple[dt.date]]:
        asked.append(values)
        return [(dt.date(2024, 5, len(asked)),)] if values[0] == 1024 else []

    now = 100.0
    monkeypatch.setattr(windows, "monotonic", lambda: now)
    days, near, far = Days(ask), Window(1024, dt.date.max), Window(2048, dt.date.max)
    assert [await days.of(near) for _ in range(3)] == [dt.date(2024, 5, 1)] * 3
    assert [await days.of(far) for _ in range(2)] == [None] * 2
    assert asked == [[1024, dt.date.max], [2048, dt.date.max]]
    now += 60
    assert await days.of(near) == dt.date(2024, 5, 3)
    now += 59.9
    assert await days.of(near) == dt.date(2024, 5, 3)
    assert len(asked) == 3


async def test_days_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    async def ask(_: str, values: list[Any]) -> list[tuple[dt.date]]:
        asked.append(values[0])
        return []

    monkeypatch.setattr(windows, "monotonic", lambda: 100.0)
    days = Days(ask)
    for studies in range(1000):
        assert await days.of(Window(studies, dt.date.max)) is None
    assert await days.of(Window(0, dt.date.max)) is None
    assert len(asked) == 1000
    await days.of(Window(1000, dt.date.max))
    await days.of(Window(0, dt.date.max))
    assert asked[1000:] == [1000, 0]


@pytest.mark.parametrize(
    ("matches", "every", "studies"),
    [
        (1000, 1000, 1024),  # 20 are walked: 50 entries of each are all that there are
        (1001, 1001, None),
        (20, 40, None),
        (40, 40, 1024),  # as many as there are
        (39, 40, 1024),
        (20_000, 1000 << 15, 1 << 16),  # as many as are ever walked
        (19_999, 1000 << 15, None),
        (20_001, 1000 << 15, 1 << 16),
    ],
)
def test_the_edges_of_what_a_window_saves(matches: int, every: int, studies: int | None) -> None:
    window = window_of(NAME, matches, every)
    assert (window and window.studies) == studies
