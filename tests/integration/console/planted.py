"""A house where whatever people, patients and other systems may name is markup, or turns text."""

from dataclasses import dataclass
from typing import Final

from tests.integration.api.accounts.people import PASSWORD
from tests.integration.api.conftest import Api
from tests.integration.console.conftest import MARKUP
from tests.support.builders import a_data_set
from tests.support.database import Prepared

TURNED: Final = "\u202egpj.exe"
_PERSON: Final = f"{MARKUP}^{TURNED}"
_JOBS: Final = (
    """
    INSERT INTO transmit.job (id, destination, priority, state, reason, requested_by, finished_at)
    VALUES (md5('planted'), 'PACS', 'low', 'FAILED', $1, $1, now())
    """,
    """
    INSERT INTO transmit.retrieve (id, remote, method, study_instance_uid, state, reason,
        requested_by, finished_at)
    VALUES (md5('planted'), 'PACS', 'get', '1.2', 'FAILED', $1, $1, now())
    """,
    """
    INSERT INTO print.job (id, printer, layout, sop_instance_uids, copies, state, reason,
        requested_by)
    VALUES (md5('planted'), 'laser', '1x1', '{1.2}', 1, 'FAILED', $1, $1)
    """,
    """
    INSERT INTO transmit.procedure_step (sop_instance_uid, remote, sealed, reason, requested_by)
    VALUES ('1.2', 'PACS', '', $1, $1)
    """,
    "UPDATE api.dead_letter SET reason = $1, type = $1",
    "UPDATE ingest.quarantined SET reason = $1, calling_ae_title = $1",
)
_JOB: Final = "SELECT md5('planted') AS id"


@dataclass(frozen=True)
class Planted:
    """What has been made, by its ids."""

    job: str
    conflict: str
    user: str


async def plant(api: Api, studies: list[str]) -> Planted:
    """Have markup wherever a text may come from outside.

    Args:
        api: with ingest, transmit and print, and with `trouble` made.
        studies: of `a_house`.
    """
    database = Prepared(api.services.superuser_url)
    for statement in _JOBS:
        await database.fetch(statement, MARKUP)
    other = a_data_set(
        SpecificCharacterSet="ISO_IR 192",
        StudyInstanceUID=studies[0],
        PatientID="P-OTHER",
        PatientName=_PERSON,
    )
    await api.seed.add(other)
    user = {
        "username": "planted",
        "email": "planted@example.org",
        "full_name": f"{MARKUP} {TURNED}",
    }
    entry = {
        "patient_name": _PERSON,
        "patient_id": MARKUP,
        "modality": "CT",
        "accession_number": "<u>A1",
        "scheduled_at": "2026-11-27T09:00:00",
        "requested_procedure_description": MARKUP,
        "scheduled_procedure_step_description": MARKUP,
    }
    workitem = {
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741200": {"vr": "CS", "Value": ["HIGH"]},
        "00741204": {"vr": "LO", "Value": [MARKUP]},
        "00741202": {"vr": "LO", "Value": [MARKUP]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
        "00404005": {"vr": "DT", "Value": ["20261127103000"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": _PERSON}]},
    }
    role = {"role_name": "planted", "description": MARKUP, "permissions": ["studies:read"]}
    key = {"name": MARKUP, "permissions": ["studies:read"], "expires_at": "2027-01-01T00:00:00Z"}
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
    await _edited(api, studies[0])
    conflicts = (await api.client.get("/api/v1/conflicts")).json()["data"]
    (job,) = await database.fetch(_JOB)
    user_id = made["/api/v1/users"].json()["user_id"]
    return Planted(job["id"], conflicts[0]["conflict_id"], user_id)


async def _edited(api: Api, study: str) -> None:
    """Give a study values and a history of markup."""
    path = f"/api/v1/studies/{study}"
    etag = (await api.client.get(path)).headers["etag"]
    changed = await api.client.patch(
        path, json={"physician_name": _PERSON}, headers={"if-match": etag}
    )
    assert changed.status_code == 200, changed.text
