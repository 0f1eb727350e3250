"""Cursors: what they bring back, and that one which was made up is refused and nothing else."""

import base64
import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_api.http.errors import ApiError
from darkroom_api.http.lists import cursor_keys, cursor_of

KINDS = [dt.datetime, str]


def made_up(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@given(
    st.datetimes(timezones=st.just(dt.UTC)), st.text(st.characters(exclude_categories=["Cs", "Cc"]))
)
def test_a_cursor_brings_its_keys_back(moment: dt.datetime, name: str) -> None:
    assert cursor_keys(cursor_of("-at", (moment, name)), "-at", [*KINDS]) == (moment, name)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        7,
        "-at",
        ["-at"],
        ["at", "2024-01-01T00:00:00+00:00", "x"],
        ["-at", "2024-01-01T00:00:00", "x"],
        ["-at", "2024-01-01T00:00:00+00:00", "x", "y"],
        ["-at", "2024-01-01T00:00:00+00:00", None],
        ["-at", "2024-01-01T00:00:00+00:00", "a\0b"],
        ["-at", "2024-01-01T00:00:00+00:00", "\ud800"],
        ["-at", 5, "x"],
    ],
)
def test_what_is_no_cursor_of_the_list_is_refused(content: object) -> None:
    with pytest.raises(ApiError) as caught:
        cursor_keys(made_up(content), "-at", [*KINDS])
    assert caught.value.status == 422


@given(st.text(max_size=60))
def test_any_text_is_refused_without_another_error(text: str) -> None:
    with pytest.raises(ApiError):
        cursor_keys(text, "-at", [*KINDS])


def test_numbers_stay_within_what_the_database_holds() -> None:
    assert cursor_keys(made_up(["n", 2**63 - 1]), "n", [int]) == (2**63 - 1,)
    for wrong in (2**63, True, 1.5, "1"):
        with pytest.raises(ApiError):
            cursor_keys(made_up(["n", wrong]), "n", [int])
