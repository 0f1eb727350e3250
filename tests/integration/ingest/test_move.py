"""C-MOVE: what other nodes have sent to destinations; pynetdicom and movescu ask."""

import asyncio
import hashlib
import os
import subprocess
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association

from darkroom_ingest.answering.named import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT
from tests.chaos.killing import Killer
from tests.chaos.transmit_rounds import STORE_POINTS, prepare
from tests.integration.ingest.asking import HOST, Asked, answering, identifier
from tests.integration.ingest.test_get import (
    ALL_FAILED,
    CANCELLED,
    EXPLICIT,
    IMPLICIT,
    MR,
    SOME_FAILED,
    SUCCESS,
    a_study,
    counts,
)
from tests.integration.transmit.desk import Desk, open_desk
from tests.support.builders import CT, new_uid
from tests.support.services import Services, own_url
from tests.support.waiting import until, until_true

MOVE = STUDY_ROOT["move"]
POINTS = (
    STORE_POINTS
    if "DARKROOM_CHAOS_ROUNDS" in os.environ
    else ("job-before-commit", "store-after-response:3", "finish-before-commit")
)
UNKNOWN_DESTINATION = 0xA801
CANNOT = 0xA702


@dataclass
class Destination:
    """A node that keeps what comes; `gate` is shut to hold up what comes after `free` objects."""

    came: list[tuple[str, str, str]] = field(default_factory=list)
    """SOP instance UID, digest and transfer syntax."""
    originators: set[tuple[str, int]] = field(default_factory=set)
    answers: dict[str, int] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    free: int = 1_000_000
    port: int = 0

    def store(self, event: Any) -> int:
        request = event.request
        if len(self.came) >= self.free:
            assert self.gate.wait(60)
        uid = str(request.AffectedSOPInstanceUID)
        digest = hashlib.sha256(request.DataSet.getvalue()).hexdigest()
        self.came.append((uid, digest, str(event.context.transfer_syntax)))
        self.originators.add(
            (
                str(request.MoveOriginatorApplicationEntityTitle),
                int(request.MoveOriginatorMessageID),
            )
        )
        return self.answers.get(uid, SUCCESS)

    @property
    def uids(self) -> set[str]:
        return {uid for uid, _, _ in self.came}

    @contextmanager
    def running(self) -> Iterator["Destination"]:
        ae = AE("PACS")
        for one in (CT, MR):
            ae.add_supported_context(one, [EXPLICIT, IMPLICIT])
        handlers: Any = [(evt.EVT_C_STORE, self.store)]
        server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
        assert server is not None
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            self.gate.set()
            server.shutdown()


@dataclass
class House:
    """Transmit as a process, the front door in this one, and a destination that is listed."""

    desk: Desk
    asked: Asked
    destination: Destination

    @contextmanager
    def asker(self, title: str = "ASKER") -> Iterator[Association]:
        ae = AE(ae_title=title)
        ae.acse_timeout = ae.dimse_timeout = 60
        for model in (MOVE, PATIENT_ROOT["move"], PATIENT_STUDY_ONLY["move"]):
            ae.add_requested_context(model)
        opened = ae.associate(HOST, self.asked.port, ae_title="DARKROOM")
        try:
            assert opened.is_established
            yield opened
        finally:
            opened.release()
            ae.shutdown()

    def move(
        self, named: Dataset, model: str = MOVE, *, to: str = "PACS", title: str = "ASKER"
    ) -> list[tuple[Dataset, Any]]:
        with self.asker(title) as association:
            return list(association.send_c_move(named, to, model, msg_id=77))


@asynccontextmanager
async def a_house(services: Services, tmp_path: Path, **changes: Any) -> AsyncIterator[House]:
    changes = {"amqp_url": own_url(services.amqp_url, "ingest")} | changes
    with Destination().running() as destination:
        async with open_desk(services) as desk:
            await services.start("transmit")
            async with answering(services, tmp_path, **changes) as asked:
                await desk.destination("archive", destination.port)
                yield House(desk, asked, destination)


def whole(objects: list[Dataset]) -> Dataset:
    return identifier("STUDY", StudyInstanceUID=str(objects[0].StudyInstanceUID))


@pytest.mark.req("ING-11")
async def test_every_level_is_sent_as_it_is_stored(services: Services, tmp_path: Path) -> None:
    """A patient, a study, a series, a list of images; with the originator, to who was named."""
    first, other = a_study(5, PatientID="P1"), a_study(2, PatientID="p1")
    async with a_house(services, tmp_path) as house:
        bodies = await house.asked.seed.add(*first, *other)
        digests = {
            str(one.SOPInstanceUID): hashlib.sha256(body).hexdigest()
            for one, body in zip((*first, *other), bodies, strict=True)
        }
        uids = [str(one.SOPInstanceUID) for one in first]
        study, series = str(first[0].StudyInstanceUID), str(first[0].SeriesInstanceUID)
        destination = house.destination

        def ask() -> None:
            upper = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
            patient_root, two = PATIENT_ROOT["move"], "\\".join(uids[1:3])
            for named, model, expected in (
                (identifier("STUDY", StudyInstanceUID=study), MOVE, uids),
                (identifier("SERIES", **upper), MOVE, uids),
                (identifier("IMAGE", **upper, SOPInstanceUID=two), MOVE, uids[1:3]),
                (identifier("PATIENT", PatientID="P1"), patient_root, uids),
                (identifier("PATIENT", PatientID="P1"), PATIENT_STUDY_ONLY["move"], uids),
                (identifier("STUDY", PatientID="p1", StudyInstanceUID=study), patient_root, []),
                (identifier("STUDY", StudyInstanceUID=new_uid()), MOVE, []),
            ):
                destination.came.clear()
                found = house.move(named, model)
                assert counts(found[-1][0]) == (SUCCESS, len(expected), 0, 0), named
                assert [(uid, digest) for uid, digest, _ in destination.came] == [
                    (uid, digests[uid]) for uid in expected
                ]
                left = [status.NumberOfRemainingSuboperations for status, _ in found[:-1]]
                assert left == sorted(left, reverse=True)
            assert destination.originators == {("ASKER", 77)}
            for title, to, refusal in (
                ("ASKER", "NOWHERE", UNKNOWN_DESTINATION),
                ("ASKER", "pacs", UNKNOWN_DESTINATION),
                ("NOBODY", "PACS", 0x0124),
                ("STRANGER", "PACS", 0x0124),
                ("OWN", "PACS", SUCCESS),  # has sent nothing of it
            ):
                destination.came.clear()
                answer = house.move(identifier("STUDY", StudyInstanceUID=study), to=to, title=title)
                assert answer[-1][0].Status == refusal, (title, to)
                assert destination.came == []
            wrong = identifier("STUDY", StudyInstanceUID="1.2*")
            assert house.move(wrong)[-1][0].Status == 0xA900
            command = ("movescu", "-S", "-aet", "ASKER", "-aec", "DARKROOM", "-aem", "PACS")
            keys = ("-k", "0008,0052=STUDY", "-k", f"0020,000d={study}")
            subprocess.run(
                (*command, *keys, HOST, str(house.asked.port)),
                check=True,
                timeout=60,
                capture_output=True,
            )
            assert destination.uids == set(uids)

        await asyncio.to_thread(ask)
        rows = await house.desk.prepared.fetch(
            "SELECT originator, requested_by, priority, destination FROM transmit.job"
        )
        asked = "ASKER", "C-MOVE ASKER"
        assert {tuple(row) for row in rows} == {
            (*asked, "low", "archive"),  # as pynetdicom and movescu say unless they are told
            (*asked, "medium", "archive"),
        }


async def test_what_fails_is_named(services: Services, tmp_path: Path) -> None:
    """Refusals, warnings, objects that are gone; a rule of the destination makes objects over."""
    objects = a_study(4)
    async with a_house(services, tmp_path, move_silence_seconds=5) as house:
        await house.desk.destination(
            "archive", house.destination.port, transfer_syntaxes=[IMPLICIT]
        )
        await house.asked.seed.add(*objects)
        uids = [str(one.SOPInstanceUID) for one in objects]
        async with house.asked.seed.database.acquire() as db:
            key = await db.fetchval(
                "SELECT object_key FROM index.instance WHERE sop_instance_uid = $1", uids[0]
            )
        (house.asked.seed.store / key).unlink()
        house.destination.answers = {uids[1]: 0xA900, uids[2]: 0xB006}
        status, named = (await asyncio.to_thread(house.move, whole(objects)))[-1]
        assert counts(status) == (SOME_FAILED, 1, 2, 1)
        assert set(named.FailedSOPInstanceUIDList) == set(uids[:2])
        assert {syntax for _, _, syntax in house.destination.came} == {IMPLICIT}
        house.destination.answers = dict.fromkeys(uids, 0xC000)
        status, named = (await asyncio.to_thread(house.move, whole(objects)))[-1]
        assert counts(status) == (ALL_FAILED, 0, 4, 0)
        assert set(named.FailedSOPInstanceUIDList) == set(uids)


async def test_a_cancel_stops_what_is_not_sent_yet(services: Services, tmp_path: Path) -> None:
    """It is counted as remaining; the job is cancelled, and never goes on."""
    objects = a_study(60)
    async with a_house(services, tmp_path) as house:
        await house.asked.seed.add(*objects)
        destination = house.destination
        destination.free = 3

        def ask() -> Dataset:
            with house.asker() as association:
                answers = association.send_c_move(whole(objects), "PACS", MOVE, msg_id=9)
                status, _ = next(answers)
                until_true(lambda: len(destination.came) >= 3, "three have come")
                association.send_c_cancel(9, query_model=MOVE)
                for status, _ in answers:
                    if status.Status != 0xFF00:
                        break
                destination.gate.set()
                return status

        last = await asyncio.to_thread(ask)
        assert last.Status == CANCELLED
        assert last.NumberOfRemainingSuboperations + last.NumberOfCompletedSuboperations == 60
        (row,) = await house.desk.prepared.fetch("SELECT id, state FROM transmit.job")
        assert row["state"] == "CANCELLED"

        async def settled() -> bool:
            rows = await house.desk.instances(row["id"])
            sent = {uid for uid, one in rows.items() if one["state"] == "SENT"}
            return sent == destination.uids

        await until(settled)
        assert len(destination.came) < 60


async def test_whoever_goes_away_or_is_restarted(services: Services, tmp_path: Path) -> None:
    """An asker that aborts ends nothing; transmit restarted in the middle is waited for."""
    objects = a_study(40)
    uids = {str(one.SOPInstanceUID) for one in objects}
    async with a_house(services, tmp_path) as house:
        await house.asked.seed.add(*objects)
        destination = house.destination
        destination.free = 3

        def leave() -> None:
            with house.asker() as association:
                answers = association.send_c_move(whole(objects), "PACS", MOVE)
                next(answers)
                association.abort()

        await asyncio.to_thread(leave)
        destination.gate.set()
        await until(lambda: destination.uids == uids)
        await house.desk.jobs_are(1, "SENT")

        destination.came.clear()
        destination.gate.clear()
        moving = asyncio.create_task(asyncio.to_thread(house.move, whole(objects)))
        await until(lambda: len(destination.came) >= 3)
        await services.running["transmit"].kill()
        destination.free = 1000
        destination.gate.set()
        await services.start("transmit")
        found = await moving
        assert counts(found[-1][0]) == (SUCCESS, 40, 0, 0)
        assert destination.uids == uids


async def test_killed_while_it_sends_the_move_is_answered_in_the_end(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` of transmit at named points (F3): all of it arrives, and the asker hears so."""
    killer = Killer.prepare(services, monkeypatch)
    prepare(services)
    async with a_house(services, tmp_path) as house:
        for point in POINTS:
            objects = a_study(8)
            bodies = await house.asked.seed.add(*objects)
            digests = {hashlib.sha256(body).hexdigest() for body in bodies}
            house.destination.came.clear()
            killer.arrange(point)
            moving = asyncio.create_task(asyncio.to_thread(house.move, whole(objects)))
            await killer.died("transmit")
            await services.start("transmit")
            assert counts((await moving)[-1][0]) == (SUCCESS, 8, 0, 0), point
            came = Counter(digest for _, digest, _ in house.destination.came)
            assert came.keys() == digests, point
            assert max(came.values()) <= 2, point  # those whose answers were lost


async def test_limits(services: Services, tmp_path: Path) -> None:
    """So many moves at once of one asker; a destination that takes nothing is given up."""
    objects = a_study(3)
    limits = {"retrieve_moves": 1, "move_silence_seconds": 0.5}
    async with a_house(services, tmp_path, **limits) as house:
        await house.asked.seed.add(*objects)
        destination = house.destination
        destination.free = 0
        uids = {str(one.SOPInstanceUID) for one in objects}

        def ask() -> None:
            with house.asker() as association:
                answers = association.send_c_move(whole(objects), "PACS", MOVE)
                next(answers)
                next(answers)
                assert house.move(whole(objects))[-1][0].Status == CANNOT
                *_, (last, named) = answers
            assert named is not None
            assert counts(last) == (ALL_FAILED, 0, 3, 0)
            assert set(named.FailedSOPInstanceUIDList) == uids

        await asyncio.to_thread(ask)
        destination.gate.set()

        async def is_cancelled() -> bool:
            rows = await house.desk.prepared.fetch("SELECT state, reason FROM transmit.job")
            others = {row["reason"] for row in rows if row["state"] != "CANCELLED"}
            # The second is refused at once, or, at the same moment as the first, as a job.
            return others <= {"TooManyMoves"} and any(row["state"] == "CANCELLED" for row in rows)

        await until(is_cancelled, "the first one cancelled")
    await services.running["transmit"].kill()
    async with answering(services, tmp_path, retrieve_instances=2) as asked:
        house = House(house.desk, asked, destination)
        assert (await asyncio.to_thread(house.move, whole(objects)))[-1][0].Status == 0xA701
    nobody = {"amqp_url": f"amqp://u@{HOST}:9/v"}
    async with answering(services, tmp_path, **nobody) as asked:
        house = House(house.desk, asked, destination)
        assert (await asyncio.to_thread(house.move, whole(objects)))[-1][0].Status == CANNOT
