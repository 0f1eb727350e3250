"""A site whose place was taken does not come back by itself."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from darkroom_common.clock import utc_now
from darkroom_local.recovery.archive import Archive
from darkroom_local.recovery.drill import spoken
from darkroom_local.recovery.fencing import (
    Fenced,
    Sent,
    begin_sending,
    may_start,
    raise_fence,
    require_unfenced,
    take_back,
    telling_services,
    would_take_back,
)
from darkroom_local.stack.keyring import new_keys
from darkroom_local.stack.layout import Layout
from tests.support.shown import require_shown


def test_the_site_that_was_replaced_neither_sends_nor_starts(tmp_path: Path) -> None:
    data, place, key = tmp_path / "north", tmp_path / "place", tmp_path / "key"
    data.mkdir()
    place.mkdir()
    key.write_text(new_keys())
    archive, told = Archive.open(place, key), list[str]()
    may_start(data, told.append)  # it was never sent anywhere
    sent = begin_sending(archive, data, str(place), key)
    assert begin_sending(archive, data, str(place), key) == sent
    require_unfenced(archive, sent)
    may_start(data, told.append)
    assert told == []

    raise_fence(archive)  # as a failover does
    with pytest.raises(Fenced, match="has taken the place"):
        require_unfenced(archive, sent)
    with pytest.raises(Fenced, match="darkroom standby"):
        begin_sending(archive, data, str(place), key)
    with pytest.raises(Fenced, match="darkroom take-back"):
        may_start(data, told.append)

    again = take_back(archive, data, str(place), key)
    require_unfenced(archive, again)
    assert begin_sending(archive, data, str(place), key) == again
    may_start(data, told.append)
    assert told == []
    raise_fence(archive)  # a second one
    with pytest.raises(Fenced):
        may_start(data, told.append)


def test_what_runs_there_learns_of_a_fence_until_it_is_taken_back(tmp_path: Path) -> None:
    data, place, key = tmp_path / "north", tmp_path / "place", tmp_path / "key"
    data.mkdir()
    place.mkdir()
    key.write_text(new_keys())
    archive, file = Archive.open(place, key), Layout(data).fenced
    begin_sending(archive, data, str(place), key)
    raise_fence(archive)
    before = utc_now()
    with pytest.raises(Fenced), telling_services(data):
        begin_sending(archive, data, str(place), key)
    said = would_take_back(archive, data)
    require_shown(said, "failover.md", "darkroom take-back")
    since = datetime.fromisoformat(json.loads(file.read_text())["since"])
    assert before - timedelta(minutes=1) < since <= before

    take_back(archive, data, str(place), key)
    assert "nothing would be changed" in would_take_back(archive, data)
    assert not file.exists()
    with telling_services(data):
        begin_sending(archive, data, str(place), key)
    assert not file.exists()
    file.write_text("{}")  # of a fence that was taken back elsewhere
    may_start(data, pytest.fail)
    assert not file.exists()


def test_a_site_that_cannot_know_starts_and_says_so(tmp_path: Path) -> None:
    Sent(str(tmp_path / "place"), str(tmp_path / "lost-key"), 0).write(tmp_path)
    told: list[str] = []
    may_start(tmp_path, told.append)
    (line,) = told
    assert "is not known" in line


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (89, "89.0 s"), (720, "12 min"), (84_600, "23.5 h")],
)
def test_a_time_is_said_in_a_unit_that_says_something(seconds: float, said: str) -> None:
    assert spoken(seconds) == said
