"""Destinations: what is accepted as one, when it may be sent to, and how secrets are sealed."""

import base64
import datetime as dt
import os
from typing import Any

import pytest
from pydantic import ValidationError

from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.seal import Seal, Unsealable
from darkroom_common.specs.base import strict
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_transmit.destinations.destination import Destination

PACS: dict[str, Any] = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}


@pytest.mark.parametrize(
    "wrong",
    [
        {"ae_title": None},
        {"host": None},
        {"host": "a host"},
        {"port": 0},
        {"ae_title": "SEVENTEEN LETTERS"},
        {"ae_title": "BACK\\SLASH"},
        {"max_associations": 65},
        {"time_zone": "Nowhere/At_All"},
        {"backoff": {"initial_seconds": 10, "ceiling_seconds": 5}},
        {"kind": "stow"},
        {"kind": "stow", "url": "https://user:secret@pacs/dicom-web"},
        {"kind": "stow", "url": "file:///etc/passwd"},
        {"colour": "blue"},
    ],
)
def test_what_is_no_destination_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        strict(DestinationSpec).model_validate(PACS | wrong)


def opening(windows: list[dict[str, Any]], now: str, zone: str = "Europe/Berlin") -> str | None:
    spec = DestinationSpec.model_validate(PACS | {"windows": windows, "time_zone": zone})
    found = Destination("PACS", spec).opens_at(dt.datetime.fromisoformat(now))
    return None if found is None else found.astimezone(dt.UTC).strftime("%a %d %H:%M")


def test_windows_of_days_and_over_midnight() -> None:
    night = [{"days": ["mon", "fri"], "start": "22:00", "end": "06:00"}]
    assert opening([], "2026-11-20T12:00Z") == "Fri 20 12:00"
    assert opening(night, "2026-11-20T12:00Z") == "Fri 20 21:00"  # one hour east of UTC
    assert opening(night, "2026-11-20T23:30Z") == "Fri 20 23:30"  # open
    assert opening(night, "2026-11-21T04:59Z") == "Sat 21 04:59"  # since yesterday evening
    assert opening(night, "2026-11-21T05:00Z") == "Mon 23 21:00"
    summer = [{"start": "03:00", "end": "04:00"}]
    assert opening(summer, "2026-03-28T12:00Z") == "Sun 29 01:00"  # the clocks have gone forward
    assert opening(summer, "2026-03-27T12:00Z") == "Sat 28 02:00"


def keys(*numbers: int) -> PhiKeys:
    return PhiKeys(numbers[0], {n: base64.b64encode(os.urandom(32)).decode() for n in numbers})


def test_a_seal_opens_for_its_purpose_only() -> None:
    mine = keys(2, 1)
    sealed = Seal(mine).seal({"name": "Doe^John"}, purpose="reply:worklist")
    assert "Doe" not in base64.b64decode(sealed.split(".")[2] + "==", "-_").decode("latin-1")
    assert Seal(PhiKeys(1, mine.keys)).open(sealed, purpose="reply:worklist") == {
        "name": "Doe^John"
    }
    assert sealed.split(".")[1] == "2"
    assert Seal(mine).seal(1, purpose="x") != Seal(mine).seal(1, purpose="x")
    bad = [
        (sealed, "reply:other", mine),
        (sealed, "reply:worklist", keys(2)),
        (sealed, "reply:worklist", keys(1)),
        (sealed[:-6] + "AAAAAA", "reply:worklist", mine),
        ("s1.2.", "reply:worklist", mine),
        ("nonsense", "reply:worklist", mine),
    ]
    for text, purpose, ring in bad:
        with pytest.raises(Unsealable):
            Seal(ring).open(text, purpose=purpose)
