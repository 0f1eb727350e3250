"""The conformance statement of a running stack, held against what a peer sees of it."""

import asyncio
import datetime as dt
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pynetdicom.sop_class
import pypdf
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, UID_dictionary  # type: ignore[attr-defined] # not re-exported
from pynetdicom import build_context, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from darkroom_common.dimse.users.normalized import NormalizedUser
from darkroom_common.validation.validate import validate
from tests.e2e.stated_objects import (
    ENTRY,
    OTHERS,
    a_full_object,
    a_step,
    changes_of,
    emptied,
    without,
)
from tests.e2e.stating import (
    REFUSED_CLASS,
    REFUSED_SYNTAX,
    STUDY_ROOT,
    Read,
    a_match,
    asked,
    asking,
    may_ask,
    put,
    read,
    results,
    taken,
)
from tests.e2e.user import DarkroomUp, instances
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import Association
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
EXPLICIT = "1.2.840.10008.1.2.1"
PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
MODELS = {"PATIENT": PATIENT_ROOT, "STUDY": STUDY_ROOT, "SERIES": STUDY_ROOT, "IMAGE": STUDY_ROOT}
WORKLIST, MPPS = "1.2.840.10008.5.1.4.31", "1.2.840.10008.3.1.2.3.3"


def every_class() -> set[str]:
    """All SOP classes that pydicom and pynetdicom know."""
    known = {
        uid for uid, row in UID_dictionary.items() if row[1] in ("SOP Class", "Meta SOP Class")
    }
    listed = vars(pynetdicom.sop_class).values()
    return known | {str(one) for one in listed if isinstance(one, UID) and one.count(".") > 4}


def every_syntax() -> set[str]:
    return {uid for uid, row in UID_dictionary.items() if row[1] == "Transfer Syntax"}


@pytest.mark.req("IOD-06")
async def test_a_peer_negotiates_what_is_stated(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    """No line is untrue and nothing is missing: each pair by itself, and all that is not stated."""
    found = await read(client)
    stated = found.contexts(darkroom.dicom_port)
    syntaxes = every_syntax() | set(found.syntaxes.values())
    pairs = {(uid, syntax) for uid in stated for syntax in syntaxes}
    others = {(uid, EXPLICIT) for uid in (every_class() | {"1.2.3.4"}) - set(stated)}
    assert len(stated) > 220
    assert len(others) > 90
    seen = await asyncio.to_thread(results, darkroom.dicom_port, sorted(pairs | others))
    expected = {(u, s): 0 if s in stated[u][0] else REFUSED_SYNTAX for u, s in pairs}
    assert seen == expected | dict.fromkeys(others, REFUSED_CLASS)
    await asyncio.to_thread(_ways, darkroom.dicom_port, found)


def _ways(port: int, found: Read) -> None:
    """What is agreed on beside: roles, order of syntaxes, extended negotiation, identification."""
    stated = found.contexts(port)
    answered = {}
    for uid, (syntaxes, row) in stated.items():
        if uid != CT and row["SOP class"].startswith("each"):
            continue
        wish = SOPClassExtendedNegotiation()
        wish.sop_class_uid, wish.service_class_application_information = UID(uid), bytes([1] * 5)
        role = build_role(UID(uid), scp_role=True, scu_role=True)
        offered = build_context(UID(uid), [UID(one) for one in reversed(syntaxes)])
        association = asked(port, [offered], [wish, role])
        (agreed,) = association.accepted_contexts
        assert agreed.transfer_syntax == [syntaxes[0]], row
        (both,) = [agreed.as_scp] if row["Requestor may be"] != "SCU" else [not agreed.as_scp]
        assert both, row
        answered[uid] = [
            one.service_class_application_information
            for one in association.acceptor.user_information
            if isinstance(one, SOPClassExtendedNegotiation)
        ]
        association.release()
    forms = {"relational queries, date and time combined, fuzzy names": b"\1\1\1\0\0"}
    forms |= {"relational retrieval": b"\1", "": b""}
    assert answered == {
        uid: [form] if (form := forms[stated[uid][1]["Extended"]]) else [] for uid in answered
    }
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = UID(CT), UID("1.2.840.10008.4.2")
    user = UserIdentityNegotiation()
    user.user_identity_type, user.primary_field = 1, b"somebody"
    user.positive_response_requested = True
    association = asked(port, [build_context(UID(CT))], [window, common, user])
    assert association.is_established
    items = association.acceptor.user_information
    assert not any(isinstance(item, SOPClassCommonExtendedNegotiation) for item in items)
    (window,) = [one for one in items if isinstance(one, AsynchronousOperationsWindowNegotiation)]
    counts = window.maximum_number_operations_invoked, window.maximum_number_operations_performed
    said = {row["Property"]: row["Value"] for row in found.rows("Associations")}
    refused = [said["Asynchronous operations window"], said["User identity negotiation"]]
    assert counts == (1, 1)
    assert refused == ["1 invoked, 1 performed", "not answered"]
    assert association.acceptor.user_identity is None
    assert association.acceptor.implementation_class_uid == said["Implementation class UID"]
    assert association.acceptor.implementation_version_name == said["Implementation version name"]
    assert str(association.acceptor.maximum_length) == said["Longest PDU that is taken, bytes"]
    association.release()


async def test_the_commitment_port_takes_what_is_stated(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    found = await read(client)
    port = darkroom.commitment_port
    stated = found.contexts(port)
    classes = every_class() | {"1.2.3.4"}
    pairs = {(uid, syntax) for uid in stated for syntax in found.syntaxes.values()}
    pairs |= {(uid, EXPLICIT) for uid in classes - set(stated)}
    seen = await asyncio.to_thread(results, port, sorted(pairs))
    assert seen == {
        (uid, syntax): REFUSED_CLASS
        if uid not in stated
        else (0 if syntax in stated[uid][0] else REFUSED_SYNTAX)
        for uid, syntax in pairs
    }


async def test_an_object_of_every_storage_class_is_stored(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    found = await read(client)
    study = new_uid()
    classes = [row["UID"] for row in found.rows("Storage SOP classes")]

    def store() -> list[int]:
        told = []
        for begin in range(0, len(classes), 100):
            some = {2 * n + 1: uid for n, uid in enumerate(classes[begin : begin + 100])}
            contexts = {number: (uid, EXPLICIT) for number, uid in some.items()}
            with Association(darkroom.dicom_port, contexts) as association:
                for number, uid in some.items():
                    one = a_data_set(SOPClassUID=uid, StudyInstanceUID=study)
                    name = str(one.SOPInstanceUID)
                    told.append(association.store(number, uid, name, encode(one)))
        return told

    assert await asyncio.to_thread(store) == [0] * len(classes)

    async def there() -> bool:
        kept = await instances(client, StudyInstanceUID=study)
        return {one["00080016"]["Value"][0] for one in kept} == set(classes)

    await until(there, "every SOP class is in the index")


async def test_every_attribute_of_a_query_is_found_as_stated(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    found = await read(client)
    rows = found.rows("Attributes of C-FIND, as SCP")
    one = a_full_object(rows)
    one.ensure_file_meta()
    one.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    study = str(one.StudyInstanceUID)

    def store() -> int:
        association = asked(darkroom.dicom_port, [build_context(UID(CT), EXPLICIT)])
        status = association.send_c_store(one)
        association.release()
        return int(status.Status)

    assert await asyncio.to_thread(store) == 0
    await may_ask(client, darkroom.dicom_port)
    await until(lambda: instances(client, StudyInstanceUID=study), "it is in the index")

    def ask() -> None:
        models = sorted(set(MODELS.values()))
        association = asking(darkroom.dicom_port, *models)
        for row in rows:
            path = row["Attribute"].split(".")
            if not row["VR"]:
                path = ["ImageComments"]  # one of the header that the index has no place for
            query = Dataset()
            query.QueryRetrieveLevel = row["Level"]
            query.PatientID = one.PatientID
            if row["Level"] != "PATIENT":
                query.StudyInstanceUID = study
            put(query, path, None if len(path) == 1 and path[0] == "Rows" else "")
            if path == ["PatientID"]:
                query.PatientID = ""
            matches = a_match(association, query, MODELS[row["Level"]])
            values = {str(taken(match, path)) for match in matches}
            computed = taken(one, path) is None
            assert row["Returned"] == "yes"
            assert values - {"None", ""}, row
            if not computed:
                assert str(taken(one, path)) in values, (row, values)
            if row["Matched"] != "yes":
                continue
            for value, many in ((_value(one, path), True), (OTHERS[row["VR"]], False)):
                put(query, path, value)
                assert bool(a_match(association, query, MODELS[row["Level"]])) is many, (row, value)
        association.release()

    await asyncio.to_thread(ask)


def _value(one: Dataset, path: list[str]) -> Any:
    computed = {"ModalitiesInStudy": one.Modality, "SOPClassesInStudy": one.SOPClassUID}
    return computed.get(path[0]) or taken(one, path)


async def test_every_attribute_of_the_worklist_is_answered_as_stated(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    rows = (await read(client)).rows("Attributes of the modality worklist, as SCP")
    at = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
    answer = await client.post("/api/v1/worklist", json=ENTRY | {"scheduled_at": at.isoformat()})
    assert answer.status_code == 201, answer.text
    await may_ask(client, darkroom.dicom_port)

    def ask() -> None:
        association = asking(darkroom.dicom_port, WORKLIST)
        for row in rows:
            *above, last = row["Attribute"].split(" > ")
            for keyword in last.split(", "):
                path = [*above, keyword]
                query = Dataset()
                put(query, path, "")
                matches = a_match(association, query, WORKLIST)
                assert len(matches) == 1, row
                (match,) = matches
                value = taken(match, path)
                if row["Matched"] != "yes":
                    assert not value, row
                    assert path[-1] in match
                    continue
                assert value not in (None, ""), row
                other = OTHERS["SH" if above[-1:] and "Code" in above[-1] else row["VR"]]
                if row["VR"] in ("SH", "CS", "AE") or len(last.split(", ")) > 1:
                    other = "NONE"
                for wanted, many in ((value, 1), (other, 0)):
                    put(query, path, wanted)
                    assert len(a_match(association, query, WORKLIST)) == many, (row, wanted)
        association.release()

    await asyncio.to_thread(ask)


async def test_steps_need_what_is_stated(darkroom: DarkroomUp, client: httpx.AsyncClient) -> None:
    found = await read(client)
    rows = found.rows("Attributes of performed procedure steps (MPPS)", Role="SCP")
    await may_ask(client, darkroom.dicom_port)

    def tell() -> None:
        association = asking(darkroom.dicom_port, MPPS)
        user = NormalizedUser(association, print)

        def create(step: Dataset) -> tuple[int, str]:
            uid = new_uid()
            return user.create(MPPS, MPPS, step, uid).status, uid

        def change(uid: str, to: Dataset) -> int:
            return user.set(MPPS, MPPS, uid, to).status

        for row in rows:
            keyword, needed = row["Attribute"], row["N-CREATE"] == "with a value"
            for step, status in ((without(keyword), 0x0120), (emptied(keyword), 0x0121)):
                assert create(step)[0] == (status if needed else 0), row
            told, uid = create(a_step())
            assert told == 0
            for other, status in changes_of(row):
                assert change(uid, other) == status, (row, other)
        association.release()

    await asyncio.to_thread(tell)


@pytest.mark.req("IOD-06")
async def test_the_statement_is_had_in_every_form(
    darkroom: DarkroomUp, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await read(client)
    made = {}
    for form in ("markdown", "html", "pdf", "dicom"):
        answer = await client.get("/api/v1/system/conformance", params={"format": form})
        assert answer.status_code == 200, answer.text
        made[form] = answer.content
    lines = made["markdown"].decode().count("| `tests/")
    assert lines > 800
    assert made["html"].decode().count("<td><code>tests/") == lines
    text = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(made["pdf"])).pages)
    for word in ("1.2.840.10008.5.1.4.1.1.2", "Least version of TLS", "Digital Mammography"):
        assert (word in text) is (word in made["markdown"].decode()), word
    one = dcmread(io.BytesIO(made["dicom"]))
    assert one.EncapsulatedDocument.startswith(b"%PDF-")
    assert (one.Modality, one.PatientName, one.SOPClassUID.name) == (
        "DOC",
        "",
        "Encapsulated PDF Storage",
    )
    assert validate(io.BytesIO(made["dicom"])).to_json()["errors"] == 0
    file = tmp_path / "statement.md"
    command = [str(Path(sys.executable).with_name("darkroom")), "conformance"]
    command += ["--data", str(darkroom.data), "--output", str(file)]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert file.read_bytes() == made["markdown"]
