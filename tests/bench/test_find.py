"""C-FIND over a hospital's index: when the first match is there, and how many follow a second.

The index is that of `hospital`: `BENCH_STUDIES` studies (100,000). After `MOST` matches a query is
cancelled.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from pydicom.dataset import Dataset

from darkroom_common.clock import monotonic
from darkroom_common.dimse.requestor import Association, Peer, associate
from darkroom_common.dimse.statuses import CANCELLED
from darkroom_common.dimse.users.find import ask
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.command import CommandField, encode_cancel
from darkroom_common.dimse.wire.data_set import SYNTAXES
from darkroom_common.telemetry.logs import configure_logs
from darkroom_ingest.answering.identifier import PATIENT_ROOT, STUDY_ROOT
from tests.bench import report
from tests.bench.hospital import STUDIES, hospital
from tests.bench.report import ROUNDS, Table
from tests.support.services import Services, is_receiving
from tests.support.waiting import until

MOST = 20_000
FIRST = Table("Until the first match of a C-FIND", "ms")
RATE = Table("Matches of a C-FIND", "a second")
MEMORY = Table("Memory of the process that answers, at its highest", "MiB")
NOTE = f"{STUDIES:,} studies; the client is Darkroom's own, in another process; 14 attributes each."
RETURNED = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ModalitiesInStudy",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
    "ReferringPhysicianName",
)
QUERIES: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("everything", "STUDY", STUDY_ROOT, {"PatientName": "*"}),
    ("one name", "STUDY", STUDY_ROOT, {"PatientName": "Smith*"}),
    ("a year of CT", "STUDY", STUDY_ROOT, {"StudyDate": "2020", "ModalitiesInStudy": "CT"}),
    ("all patients", "PATIENT", PATIENT_ROOT, {"PatientName": ""}),
)
LISTED = (
    "INSERT INTO ingest.calling_ae (ae_title, host_rule, query_rule) VALUES ('BENCH', 'any', 'any')"
    " ON CONFLICT DO NOTHING"
)


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    yield
    report.write("C-FIND", NOTE, [FIRST, RATE, MEMORY])


@pytest.fixture
async def services(tmp_path: Path, amqp_url: str) -> AsyncIterator[Services]:
    async with hospital(tmp_path, amqp_url) as (made, _):
        db = await asyncpg.connect(made.superuser_url)
        await db.execute(LISTED)
        await db.close()
        made.store.mkdir(exist_ok=True)
        await made.start("ingest")
        yield made


def opened(port: int) -> Association:
    proposals = [Proposal(model, SYNTAXES[:1]) for model in (STUDY_ROOT, PATIENT_ROOT)]
    return associate(Peer("127.0.0.1", port, "DARKROOM", "BENCH"), proposals)


def measured(port: int, level: str, model: str, keys: dict[str, str]) -> tuple[float, int, float]:
    """Return seconds to the first answer, matches, and seconds to the last answer."""
    wanted = Dataset()
    wanted.QueryRetrieveLevel = level
    for keyword in RETURNED if level == "STUDY" else ("PatientName", "PatientID", "PatientSex"):
        setattr(wanted, keyword, "")
    for keyword, value in keys.items():
        setattr(wanted, keyword, f"{value}0101-{value}1231" if keyword == "StudyDate" else value)
    association = opened(port)
    began = monotonic()
    _, message_id = ask(association, CommandField.C_FIND, model, wanted)
    answer, first, matches = association.response(message_id, began + 3600), 0.0, 0
    first = monotonic() - began
    while answer.command.is_pending:
        matches += 1
        if matches == MOST:
            association.ask(association.accepted[model, SYNTAXES[0]], encode_cancel(message_id))
        answer = association.response(message_id, began + 3600)
    took = monotonic() - began
    status = answer.command.status
    assert status == (0 if matches < MOST else CANCELLED), f"{status:04X} after {matches}"
    association.release()
    return first, matches, took


def highest() -> int:
    """Return the KiB that a receiving process has had at most."""
    found = [0]
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if is_receiving(place):
                status = (place / "status").read_text()
                found.append(int(status.split("VmHWM:")[1].split()[0]))
    return max(found)


async def test_c_find(services: Services) -> None:
    port = services.dicom_port
    configure_logs(service="bench", level="WARNING")  # not a line for each match

    def is_listed() -> bool:
        try:
            measured(port, "STUDY", STUDY_ROOT, {"StudyDate": "1900"})
        except AssertionError:
            return False
        return True

    await until(partial(asyncio.to_thread, is_listed), limit=30)
    for _ in range(ROUNDS):
        for name, level, model, keys in QUERIES:
            first, matches, took = await asyncio.to_thread(measured, port, level, model, keys)
            FIRST.add("Darkroom", name, first * 1000)
            RATE.add("Darkroom", f"{name} ({matches:,})", matches / took)
        MEMORY.add("Darkroom", "after these", highest() / 1024)
