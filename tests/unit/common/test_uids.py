"""New UIDs: of several processes, by clocks that jump, under a root or under none."""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from darkroom_api.settings import ApiSettings
from darkroom_common import uids
from darkroom_common.dicom.identity import is_conformant
from darkroom_common.uids import LONGEST_ROOT, Uids

ROOT = "1.2.826.0.1.3680043.10.99999"
COUNT = int(os.environ.get("DARKROOM_UIDS", "40000"))
"""Of all processes together; 10,000,000 have been made."""
PROCESSES = 8


@dataclass
class Jumping:
    """A clock that is set back and forth, and stands still."""

    at: datetime = datetime(2026, 11, 27, tzinfo=UTC)
    calls: int = 0

    def now(self) -> datetime:
        self.calls += 1
        return self.at + timedelta(milliseconds=(self.calls * 7919) % 5)

    def monotonic(self) -> float:
        return 0.0


PROGRAM = """
import hashlib, sys
from datetime import UTC, datetime, timedelta
from darkroom_common.uids import Uids

class Jumping:
    calls = 0

    def now(self):
        self.calls += 1
        return datetime(2026, 11, 27, tzinfo=UTC) + timedelta(milliseconds=self.calls * 7919 % 5)

made = Uids(sys.argv[1], Jumping())
for _ in range(int(sys.argv[2])):
    uid = made.new()
    assert len(uid) <= 64 and uid.startswith(sys.argv[1] or "2.25."), uid
    sys.stdout.buffer.write(hashlib.blake2b(uid.encode(), digest_size=8).digest())
"""


@pytest.mark.req("IOD-01")
@pytest.mark.parametrize("root", ["", ROOT])
def test_no_two_are_alike(root: str) -> None:
    assert len(ROOT) == LONGEST_ROOT
    command = [sys.executable, "-c", PROGRAM, root, str(COUNT // PROCESSES)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(PROCESSES)]
    told = [np.frombuffer(one.communicate(timeout=900)[0], dtype=np.int64) for one in running]
    assert [one.returncode for one in running] == [0] * PROCESSES
    assert len(np.unique(np.concatenate(told))) == COUNT // PROCESSES * PROCESSES


@pytest.mark.parametrize("root", ["", ROOT])
def test_they_are_uids(root: str) -> None:
    made = Uids(root, Jumping())
    assert all(is_conformant(made.new()) for _ in range(200))


def test_a_process_that_has_made_very_many_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uids, "_SEQUENCES", 3)
    made = Uids(ROOT, Jumping())
    found = [made.new() for _ in range(8)]
    assert len(set(found)) == 8
    assert {one.rpartition(".")[2] for one in found} == {"1", "2"}
    assert len({one.split(".")[8] for one in found}) == 4


@pytest.mark.parametrize(
    "root",
    ["1.2.840.10008", "1.2.840.10008.5.1", "1.2.826.0.1.3680043.8.498", "3.1", "1.02", ROOT + "9"],
)
def test_roots_of_others_are_refused(root: str) -> None:
    with pytest.raises(ValidationError, match="uid_root"):
        ApiSettings.model_validate({"uid_root": root})


def test_the_root_of_an_organisation_is_taken() -> None:
    with pytest.raises(ValidationError) as told:
        ApiSettings.model_validate({"uid_root": ROOT})
    assert "uid_root" not in str(told.value)
