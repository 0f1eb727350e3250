"""A house where whatever people, patients and other systems may name is markup, or turns text."""

from dataclasses import dataclass
from typing import Final

from tests.integration.api.accounts.people import PASSWORD
from tests.integration.api.conftest import Api
from tests.integration.console.conftest import MARKUP
from tests.support.builders import a_data_set
from tests.support.database import Prepared

TURNED: Final = "\u202egpj.exe"
_JOBS: Final = (
    """
    INSERT INTO transmit.job (id, destination, priority, state, reason, requested_by, finished_at)
    VALUES (md5('planted'), 'PACS', 'low', 'FAILED', $1, $2, now())
    """,
    """
    INSERT INTO transmit.retrieve (id, remote, method, study_instance_uid, state, reason,
        requested_by, finished_at)
    VALUES (md5('planted'), 'PACS', 'get', '1.2', 'FAILED', $1, $2, now())
    """,
    """
    INSERT INTO print.job (id, printer, layout, sop_instance_uids, copies, state, reason,
        requested_by)
    VALUES (md5('planted'), 'laser', '1x1', '{1.2}', 1, 'FAILED', $1, $2)
    """,
    """
    INSERT INTO transmit.procedure_step (sop_instance_uid, remote, sealed, reason, requested_by)
    VALUES ('1.2', 'PACS', '', $1, $2)
    """,
)
_LETTERS: Final = "UPDATE api.dead_letter SET reason = $1, type = $2"
_QUARANTINED: Final = "UPDATE ingest.quarantined SET reason = $1, calling_ae_title = $2"
_JOB: Final = "SELECT md5('planted') AS id"


@dataclass(frozen=True)
class Texts:
    """What people, patients and other systems say.

    Attributes:
        reason: why jobs have failed.
        by: who has asked for them.
        letter: why a message was given up, and its type.
        refused: why an object was, and who sent it.
        person: a name of DICOM.
        words: anything else.
        number: an accession number.
    """

    reason: str
    by: str
    letter: tuple[str, str]
    refused: tuple[str, str]
    person: str
    words: str
    number: str


HOSTILE: Final = Texts(
    MARKUP, MARKUP, (MARKUP, MARKUP), (MARKUP, MARKUP), f"{MARKUP}^{TURNED}", MARKUP, "<u>A1"
)
PLAIN: Final = Texts(
    "ConnectionRefused",
    "medical_admin",
    ("the study is not known", "send.objects.v1"),
    ("truncated", "CT_1"),
    "Okafor^Adaeze",
    "CT head",
    "A3001",
)


_SCENE: Final = (
    """
    INSERT INTO transmit.job (id, destination, priority, state, reason, requested_by, total, sent,
        study_instance_uid)
    SELECT md5('scene' || state), 'main-pacs', 'medium', state, '', 'technician', 120, sent,
        ($1::text[])[row]
    FROM (VALUES ('SENDING', 45, 2), ('SENT', 120, 3), ('COMMITTED', 120, 4))
        AS t (state, sent, row)
    """,
    """
    INSERT INTO print.job (id, printer, layout, sop_instance_uids, copies, state, reason,
        requested_by)
    SELECT md5('scene' || state), 'laser-1', '2x2', ($1::text[])[:3], 1, state, '', 'technician'
    FROM (VALUES ('UNKNOWN'), ('DONE')) AS t (state)
    """,
)


@dataclass(frozen=True)
class Planted:
    """What has been made, by its ids."""

    job: str
    conflict: str
    user: str


async def plant(api: Api, studies: list[str], said: Texts = HOSTILE) -> Planted:
    """Have markup, or other texts, wherever a text may come from outside.

    Args:
        api: with ingest, transmit and print, and with `trouble` made.
        studies: of `a_house`.
        said: the texts.
    """
    database = Prepared(api.services.superuser_url)
    for statement in _JOBS:
        await database.fetch(statement, said.reason, said.by)
    await database.fetch(_LETTERS, *said.letter)
    await database.fetch(_QUARANTINED, *said.refused)
    other = a_data_set(
        SpecificCharacterSet="ISO_IR 192",
        StudyInstanceUID=studies[0],
        PatientID="P-OTHER",
        PatientName=said.person,
    )
    await api.seed.add(other)
    user = {
        "username": "planted",
        "email": "planted@example.org",
        "full_name": said.person.replace("^", " "),
    }
    entry = {
        "patient_name": said.person,
        "patient_id": said.words,
        "modality": "CT",
        "accession_number": said.number,
        "scheduled_at": "2026-11-27T09:00:00",
        "requested_procedure_description": said.words,
        "scheduled_procedure_step_description": said.words,
    }
    workitem = {
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741200": {"vr": "CS", "Value": ["HIGH"]},
        "00741204": {"vr": "LO", "Value": [said.words]},
        "00741202": {"vr": "LO", "Value": [said.words]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
        "00404005": {"vr": "DT", "Value": ["20261127103000"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": said.person}]},
    }
    role = {"role_name": "planted", "description": said.words, "permissions": ["studies:read"]}
    key = {
        "name": said.words,
        "permissions": ["studies:read"],
        "expires_at": "2027-01-01T00:00:00Z",
    }
    made = {}
    for path, body in (
        ("/api/v1/roles", role),
        ("/api/v1/users", {**user, "password": PASSWORD, "roles": ["viewer"]}),
        ("/api/v1/api-keys", key),
        ("/api/v1/worklist", entry),
        ("/dicom-web/workitems", [workitem]),
    ):
        answer = await api.client.post(path, json=body)
        assert answer.status_code == 201, f"{path}: {answer.text}"
        made[path] = answer
    await _edited(api, studies[0], said.person)
    conflicts = (await api.client.get("/api/v1/conflicts")).json()["data"]
    (job,) = await database.fetch(_JOB)
    user_id = made["/api/v1/users"].json()["user_id"]
    return Planted(job["id"], conflicts[0]["conflict_id"], user_id)


async def _edited(api: Api, study: str, physician: str) -> None:
    """Give a study a physician, and with that a history."""
    path = f"/api/v1/studies/{study}"
    etag = (await api.client.get(path)).headers["etag"]
    changed = await api.client.patch(
        path, json={"physician_name": physician}, headers={"if-match": etag}
    )
    assert changed.status_code == 200, changed.text


async def scene(database_url: str, studies: list[str]) -> None:
    """Have jobs under way, done and in doubt, for pictures."""
    database = Prepared(database_url)
    for statement in _SCENE:
        await database.fetch(statement, studies)
