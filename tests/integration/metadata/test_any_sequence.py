"""After any sequence of objects and decisions, all that is shown agrees, and nothing is lost.

`DARKROOM_TEST_SEQUENCES` is how many sequences are tried.
"""

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.integration.metadata.resolving import House, house
from tests.support.builders import a_data_set, new_uid

STEPS = 14
SEQUENCES = int(os.environ.get("DARKROOM_TEST_SEQUENCES", "4"))
PATIENTS: list[dict[str, str]] = [
    {"PatientID": "P1", "PatientName": "One^Planted", "PatientSex": "F"},
    {"PatientID": "P1", "PatientName": "One^Planted^Middle"},
    {"PatientID": "P1", "PatientName": "Another^Name"},
    {
        "PatientID": "P2",
        "PatientName": "M\u00fcller^J\u00fcrgen",
        "SpecificCharacterSet": "ISO_IR 100",
    },
    {"PatientID": "P2", "IssuerOfPatientID": "ELSEWHERE", "PatientName": "Two^Planted"},
    {"PatientID": "", "PatientName": "Nobody^Known"},
]


class Sender:
    """Sends objects of few UIDs, so that they disagree."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.studies = [new_uid() for _ in range(2)]
        self.series = [new_uid() for _ in range(3)]
        self.instances = [new_uid() for _ in range(8)]
        self.sent: list[Dataset] = []

    def next(self) -> Dataset:
        if self.sent and self.choose.random() < 0.2:
            return self.choose.choice(self.sent)  # the same once more
        made = a_data_set(
            StudyInstanceUID=self.choose.choice(self.studies),
            SeriesInstanceUID=self.choose.choice(self.series),
            SOPInstanceUID=self.choose.choice(self.instances),
            Modality=self.choose.choice(["CT", "CT", "MR"]),
            InstanceNumber=self.choose.randrange(1000),
            **self.choose.choice(PATIENTS),
        )
        self.sent.append(made)
        return made


async def decide(desk: House, choose: random.Random) -> tuple[str, str] | None:
    known = await desk.conflicts("true")
    if not known:
        return None
    conflict = choose.choice(known)
    action = choose.choice(["promote", "discard", "keep", "merge", "move", "split"])
    more: dict[str, Any] = {"patient_id": choose.choice(["P1", "P2"])} if action == "move" else {}
    return await desk.decide(conflict["id"], action, **more)


@pytest.mark.req("MET-06", "STO-03", "ING-15")
@pytest.mark.parametrize("seed", range(SEQUENCES))
async def test_all_that_is_shown_agrees(superuser_url: str, tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    done: list[tuple[str, str]] = []
    async with house(superuser_url, tmp_path) as desk:
        sender = Sender(choose)
        for _ in range(STEPS):
            objects = [sender.next() for _ in range(choose.randrange(1, 5))]
            work = [desk.received(*objects)]
            if choose.random() < 0.3:  # by another indexer at the same time
                work.append(desk.received(sender.next()))
            ended, *_ = await asyncio.gather(decide(desk, choose), *work)
            done += [ended] if ended else []
            ended = await decide(desk, choose)
            done += [ended] if ended else []
            if choose.random() < 0.3:
                await desk.purge()
            await desk.require_agreement()
        assert {state for state, _ in done} <= {"DONE", "FAILED"}
        assert all(reason for state, reason in done if state == "FAILED")
        assert not [reason for _, reason in done if "understood" in reason], done
        held = {one.instance.sop_instance_uid for one in await desk.found()}
        assert held == {str(one.SOPInstanceUID) for one in sender.sent}
        # each object that came is in force, or named by a conflict
        rows = await desk.bench.prepared.fetch(
            "SELECT object_key FROM index.instance UNION SELECT object_key FROM index.conflict"
        )
        named = {row["object_key"] for row in rows}
        assert {path.name for path in desk.bench.directory.iterdir()} <= named
