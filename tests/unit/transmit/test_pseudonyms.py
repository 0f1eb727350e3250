"""What de-identification makes of a UID, a day, and a sequence that cannot be read."""

import hmac
import uuid
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from darkroom_transmit.conversion.deidentify import Deidentification, _Edit, _moved, keyed_uid

KEY = bytes(range(32))


def test_the_uid_that_stands_for_another_never_changes() -> None:
    """Objects that were sent years ago belong together with those of today: the form is fixed.

    It is an UUID of version 8 (RFC 9562 section 5.8) under 2.25.
    """
    made = [uuid.UUID(int=int(keyed_uid(bytes(32), f"1.2.{n}")[5:])) for n in range(50)]
    assert {(one.version, one.variant) for one in made} == {(8, uuid.RFC_4122)}
    assert len({*made}) == 50
    raw = bytearray(hmac.digest(bytes(32), b"uid 1.2.0", "sha256")[:16])
    raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80
    assert made[0].bytes == bytes(raw)


@pytest.mark.parametrize(
    ("text", "days", "moved"),
    [
        ("20240131", 1, "20240201"),
        ("20240301", -1, "20240229"),
        ("2024.03.01", -1, "20240229"),  # as in objects of before 1993
        ("20231231235959.5+0100", 1, "20240101235959.5+0100"),
        (" 20240131 ", 0, "20240131"),
        ("09990101", 0, "09990101"),
    ],
)
def test_a_day_is_shifted_and_its_time_stays(text: str, days: int, moved: str) -> None:
    assert _moved(text, timedelta(days=days)) == moved


@pytest.mark.parametrize("text", ["2024", "202401", "2024013", "20241301", "nonsense", ""])
def test_what_names_no_day_is_not_guessed(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        _moved(text, timedelta(days=1))


def test_a_sequence_that_cannot_be_read_is_left_out() -> None:
    """It may say anything: its bytes are none that could be cleaned."""
    dataset = Dataset()
    dataset.StudyInstanceUID = "1.2"
    stands = {0x00400275: SimpleNamespace(value=b"PLANTED^NAME")}
    how: Any = Deidentification(frozenset(), KEY)
    edit = _Edit(how, dataset)
    edit._clean_items(cast("Dataset", stands), BaseTag(0x00400275))
    assert stands == {}
