"""C-GET: what other nodes get on the association that asks; pynetdicom and getscu are peers."""

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from darkroom_common.pixels.codecs import JPEG_2000_LOSSLESS
from darkroom_ingest.answering.named import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT
from tests.integration.ingest.asking import HOST, Asked, answering, identifier
from tests.support.builders import CT, a_data_set, new_uid
from tests.support.services import Services

SUCCESS, SOME_FAILED, ALL_FAILED, CANCELLED = 0x0000, 0xB000, 0xA702, 0xFE00
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
GET = STUDY_ROOT["get"]
PIXELS = np.arange(32 * 32, dtype="<u2") % 4096
IMAGE: dict[str, Any] = {
    "Rows": 32,
    "Columns": 32,
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelData": PIXELS.tobytes(),
}


@pytest.fixture
async def asked(services: Services, tmp_path: Path) -> AsyncIterator[Asked]:
    async with answering(services, tmp_path) as made:
        yield made


def a_study(count: int, **values: Any) -> list[Dataset]:
    study, series = new_uid(), new_uid()
    given = IMAGE | {"StudyInstanceUID": study, "SeriesInstanceUID": series} | values
    return [a_data_set(InstanceNumber=number, **given) for number in range(1, count + 1)]


class Taker:
    """A node that asks by C-GET and keeps what comes: digest and transfer syntax by UID."""

    def __init__(self, port: int, title: str = "ASKER") -> None:
        self.port, self.title = port, title
        self.came: dict[str, tuple[str, str]] = {}
        self.answers: dict[str, int] = {}

    def _store(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        self.came[uid] = digest, str(event.context.transfer_syntax)
        return self.answers.get(uid, SUCCESS)

    @contextmanager
    def open(
        self, syntaxes: Sequence[str] = (EXPLICIT,), *, classes: Sequence[str] = (CT,)
    ) -> Iterator[Association]:
        ae = AE(ae_title=self.title)
        for model in (GET, PATIENT_ROOT["get"], PATIENT_STUDY_ONLY["get"]):
            ae.add_requested_context(model)
        for uid in classes:
            ae.add_requested_context(uid, list(syntaxes))
        opened = ae.associate(
            HOST,
            self.port,
            ext_neg=[build_role(uid, scp_role=True) for uid in classes],
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
            ae_title="DARKROOM",
        )
        try:
            assert opened.is_established
            yield opened
        finally:
            opened.release()
            ae.shutdown()

    def get(self, named: Dataset, model: str = GET, **how: Any) -> list[tuple[Dataset, Any]]:
        with self.open(**how) as association:
            return list(association.send_c_get(named, model))


def counts(status: Dataset) -> tuple[int, int, int, int]:
    return (
        status.Status,
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


@pytest.mark.req("ING-11")
async def test_every_level_comes_as_it_is_stored(asked: Asked) -> None:
    """A patient, a study, a series, images by a list of UIDs: bit for bit, with counts."""
    first, other = a_study(5, PatientID="P1"), a_study(2, PatientID="p1")
    bodies = await asked.seed.add(*first, *other)
    digests = {
        str(one.SOPInstanceUID): (hashlib.sha256(body).hexdigest(), EXPLICIT)
        for one, body in zip((*first, *other), bodies, strict=True)
    }
    uids = [str(one.SOPInstanceUID) for one in first]
    study, series = str(first[0].StudyInstanceUID), str(first[0].SeriesInstanceUID)
    upper = {"StudyInstanceUID": study, "SeriesInstanceUID": series}

    def ask() -> None:
        for named, model, expected in (
            (identifier("STUDY", StudyInstanceUID=study), GET, uids),
            (identifier("SERIES", **upper), GET, uids),
            (identifier("SERIES", SeriesInstanceUID=series), GET, uids),  # relational
            (identifier("IMAGE", **upper, SOPInstanceUID="\\".join(uids[1:3])), GET, uids[1:3]),
            (identifier("PATIENT", PatientID="P1"), PATIENT_ROOT["get"], uids),  # not p1's
            (
                identifier("STUDY", PatientID="P1", StudyInstanceUID=study),
                PATIENT_ROOT["get"],
                uids,
            ),
            (identifier("PATIENT", PatientID="P1"), PATIENT_STUDY_ONLY["get"], uids),
            (identifier("STUDY", PatientID="p1", StudyInstanceUID=study), PATIENT_ROOT["get"], []),
            (identifier("STUDY", StudyInstanceUID=new_uid()), GET, []),
        ):
            taker = Taker(asked.port)
            found = taker.get(named, model)
            assert counts(found[-1][0]) == (SUCCESS, len(expected), 0, 0)
            assert taker.came == {uid: digests[uid] for uid in expected}
            left = [status.NumberOfRemainingSuboperations for status, _ in found[:-1]]
            assert left == sorted(left, reverse=True)

    await asyncio.to_thread(ask)


async def test_who_may_retrieve(asked: Asked) -> None:
    """The list of senders says it; identifiers that name nothing are told so."""
    objects = a_study(2)
    await asked.seed.add(*objects)
    study = str(objects[0].StudyInstanceUID)
    whole = identifier("STUDY", StudyInstanceUID=study)

    def ask(sources: bool) -> None:
        for title in ("NOBODY", "STRANGER"):
            assert Taker(asked.port, title).get(whole)[-1][0].Status == 0x0124
        status = Taker(asked.port, "OWN").get(whole)[-1][0]
        assert counts(status) == (SUCCESS, 2 * sources, 0, 0)
        for wrong in (
            identifier("STUDY", StudyInstanceUID=""),
            identifier("STUDY", StudyInstanceUID="1.2*"),
            identifier("PATIENT", PatientID="P1"),  # no level of the study root
            identifier("VOLUME", StudyInstanceUID=study),
        ):
            assert Taker(asked.port).get(wrong)[-1][0].Status == 0xA900, wrong
        many = identifier("PATIENT", PatientID="P*")
        assert Taker(asked.port).get(many, PATIENT_ROOT["get"])[-1][0].Status == 0xA900

    await asyncio.to_thread(ask, sources=False)
    async with asked.seed.database.transaction() as db:
        await db.execute("UPDATE index.study SET calling_ae_titles = '{OWN}'")
    await asyncio.to_thread(ask, sources=True)


async def test_what_fails_is_named(asked: Asked) -> None:
    """Classes that were not offered, objects that are gone, refusals and warnings of the asker."""
    objects = a_study(4)
    odd = a_study(1, SOPClassUID=MR, StudyInstanceUID=str(objects[0].StudyInstanceUID))
    await asked.seed.add(*objects, *odd)
    uids = [str(one.SOPInstanceUID) for one in objects]
    whole = identifier("STUDY", StudyInstanceUID=str(objects[0].StudyInstanceUID))
    async with asked.seed.database.acquire() as db:
        key = await db.fetchval(
            "SELECT object_key FROM index.instance WHERE sop_instance_uid = $1", uids[0]
        )
    (asked.seed.store / key).unlink()

    def ask() -> None:
        taker = Taker(asked.port)
        taker.answers = {uids[1]: 0xA700, uids[2]: 0xB006}
        status, named = taker.get(whole)[-1]
        assert counts(status) == (SOME_FAILED, 1, 3, 1)
        assert set(named.FailedSOPInstanceUIDList) == {*uids[:2], str(odd[0].SOPInstanceUID)}
        status, named = Taker(asked.port).get(whole, classes=())[-1]
        assert counts(status) == (ALL_FAILED, 0, 5, 0)
        assert len(named.FailedSOPInstanceUIDList) == 5

    await asyncio.to_thread(ask)


async def test_what_the_asker_cannot_take_is_made_over(asked: Asked, tmp_path: Path) -> None:
    """Decompressed or re-encoded in a worker process; DCMTK's getscu reads it, too."""
    objects = a_study(2)
    await asked.seed.add(*objects)
    study = str(objects[0].StudyInstanceUID)
    whole = identifier("STUDY", StudyInstanceUID=study)

    def ask() -> None:
        for syntax in (IMPLICIT, JPEG_2000_LOSSLESS):
            taker = Taker(asked.port)
            assert counts(taker.get(whole, syntaxes=[syntax])[-1][0]) == (SUCCESS, 2, 0, 0)
            assert {used for _, used in taker.came.values()} == {syntax}
        taker = Taker(asked.port)  # JPEG baseline has 8 bits
        status, named = taker.get(whole, syntaxes=["1.2.840.10008.1.2.4.50"])[-1]
        assert (status.Status, len(named.FailedSOPInstanceUIDList)) == (ALL_FAILED, 2)
        out = tmp_path / "got"
        out.mkdir()
        command = ("getscu", "-S", "-aet", "ASKER", "-aec", "DARKROOM", "-od", str(out))
        keys = ("-k", "0008,0052=STUDY", "-k", f"0020,000d={study}")
        subprocess.run((*command, *keys, HOST, str(asked.port)), check=True, timeout=60)
        read = [dcmread(path) for path in out.iterdir()]
        assert {str(one.SOPInstanceUID) for one in read} == {
            str(one.SOPInstanceUID) for one in objects
        }
        assert all(np.array_equal(one.pixel_array.ravel(), PIXELS) for one in read)

    await asyncio.to_thread(ask)


async def test_a_cancel_ends_it(asked: Asked) -> None:
    """A C-CANCEL between two objects is obeyed: the rest is counted as remaining."""
    objects = a_study(60)
    await asked.seed.add(*objects)
    whole = identifier("STUDY", StudyInstanceUID=str(objects[0].StudyInstanceUID))

    def ask() -> None:
        taker = Taker(asked.port)
        with taker.open() as association:

            def store_and_cancel(event: Any) -> int:
                if len(taker.came) == 3:
                    association.send_c_cancel(9, query_model=GET)
                return taker._store(event)

            association.bind(evt.EVT_C_STORE, store_and_cancel)
            last, _ = list(association.send_c_get(whole, GET, msg_id=9))[-1]
            assert last.Status == CANCELLED
            left = last.NumberOfRemainingSuboperations
            assert left + last.NumberOfCompletedSuboperations == 60
            assert left > 0
            assert len(taker.came) == last.NumberOfCompletedSuboperations

    await asyncio.to_thread(ask)


async def test_limits_are_told(services: Services, tmp_path: Path) -> None:
    """Too many, too much, an index that is away: each with its status, and nothing is sent."""
    objects = a_study(3)
    study = str(objects[0].StudyInstanceUID)
    async with answering(services, tmp_path) as asked:
        await asked.seed.add(*objects)
    for changes, expected in (
        ({"retrieve_instances": 2}, 0xA701),
        ({"retrieve_bytes": 3000}, 0xA702),
        ({"retrieve_seconds": 1e-9}, ALL_FAILED),
        ({"index": f"postgresql://u@{HOST}:9/d"}, 0xA701),
    ):
        async with answering(services, tmp_path, **changes) as asked:
            taker = Taker(asked.port)
            found = await asyncio.to_thread(taker.get, identifier("STUDY", StudyInstanceUID=study))
            assert found[-1][0].Status == expected, changes
            assert taker.came == {}
