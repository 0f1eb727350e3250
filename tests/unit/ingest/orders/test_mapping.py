"""What messages want done, and what they are answered when it cannot be."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom_common.specs.worklist.entries import WorklistEntry
from darkroom_ingest.orders import mapping
from darkroom_ingest.orders.mapping import Act, Patient, Put, Schedule, acts_of
from darkroom_ingest.orders.reading import Hl7Message, NotRead, header_of
from tests.unit.ingest.orders.builders import (
    OBR,
    ORC,
    PID,
    PV1,
    ZDS,
    admission,
    msh,
    order,
    read,
    segment,
)


def acts(text: str, codec: str = "ascii", *, assumed: str = "") -> list[Act]:
    return acts_of(read(text, codec, assumed=assumed)[1])


def entry(text: str, codec: str = "ascii", *, assumed: str = "") -> WorklistEntry:
    (found,) = acts(text, codec, assumed=assumed)
    assert isinstance(found, Schedule)
    return found.entry


def test_an_order_becomes_an_entry() -> None:
    found = entry(order())
    assert found == WorklistEntry.model_validate(
        {
            "patient_name": "Planted^Anna^B^Dr",
            "patient_id": "4711",
            "issuer_of_patient_id": "HOSP",
            "patient_birth_date": "1980-02-29",
            "patient_sex": "F",
            "pregnancy_status": 3,
            "confidentiality": "VIP",
            "admission_id": "ACC9",
            "current_patient_location": "W3 12 B",
            "patient_state": "danger",
            "medical_alerts": "asthma",
            "accession_number": "A1",
            "ordered_at": "2026-11-26T08:00:00",
            "referring_physician_name": "Refer^Rita^^Dr",
            "requesting_physician_name": "Order^Otto",
            "requested_procedure_id": "RP1",
            "requested_procedure_description": "Thorax CT",
            "requested_procedure_code": {"code": "TH", "scheme": "L", "meaning": "Thorax CT"},
            "requested_procedure_priority": "STAT",
            "study_instance_uid": "1.2.3.4",
            "scheduled_procedure_step_id": "S1",
            "scheduled_at": "2026-11-27T10:30:00",
            "modality": "CT",
            "scheduled_station_ae_titles": ["CT1"],
            "scheduled_procedure_step_description": "Thorax ap",
            "scheduled_protocol_codes": [{"code": "TH1", "scheme": "L", "meaning": "Thorax ap"}],
        }
    )


def test_each_step_of_an_imaging_order_becomes_an_entry() -> None:
    obr = segment("OBR", {1: "1", 2: "P1", 4: "TH^Thorax^L", 44: "TH^Thorax CT^L"})
    steps = (
        "IPC|A7|RP7|1.2.7|S71|CT|X1^Native^L|ST^Room|L1|CT1~CT2",
        "IPC|A7|RP7|1.2.7|S72|MR|X2^Contrast^L",
    )
    text = "\r".join(
        (
            msh("OMI^O23^OMI_O23", version="2.5.1"),
            PID,
            "ORC|NW|P1|F1",
            "TQ1|1||||||202611271030||A",
            obr,
            *steps,
        )
    )
    first, second = (one.entry for one in acts(text) if isinstance(one, Schedule))
    assert first.scheduled_station_ae_titles == ("CT1", "CT2")
    assert (first.scheduled_procedure_step_id, first.modality) == ("S71", "CT")
    assert (second.scheduled_procedure_step_id, second.modality) == ("S72", "MR")
    assert {first.study_instance_uid, second.study_instance_uid} == {"1.2.7"}
    assert first.scheduled_at == dt.datetime.fromisoformat("2026-11-27T10:30")
    assert second.requested_procedure_priority == "HIGH"


def test_an_order_of_several_steps_has_several_pairs() -> None:
    text = order() + f"{ORC.format('NW', '')}\r{OBR.format('A1').replace('|S1|', '|S2|')}\r"
    ids = [one.entry.scheduled_procedure_step_id for one in acts(text) if isinstance(one, Schedule)]
    assert ids == ["S1", "S2"]


@pytest.mark.parametrize(
    ("control", "status", "state"),
    [
        ("CA", "", "CANCELLED"),
        ("DC", "", "CANCELLED"),
        ("SC", "IP", "STARTED"),
        ("SC", "CM", "COMPLETED"),
        ("SC", "DC", "DISCONTINUED"),
    ],
)
def test_control_and_status_become_a_state(control: str, status: str, state: str) -> None:
    assert acts(order(control, status=status)) == [Put("A1", "S1", state)]  # type: ignore[arg-type]


def test_without_an_accession_number_it_is_the_number_of_the_order() -> None:
    assert entry(order(accession="")).accession_number == "F1"


def test_a_patient_is_known_anew_or_under_another_number() -> None:
    (found,) = acts(admission("A08"))
    assert isinstance(found, Patient)
    assert (found.patient_id, found.issuer) == ("4711", "HOSP")
    assert found.known["patient_name"] == "Planted^Anna^B^Dr"
    (merged,) = acts(admission("A40", merged="99^^^HOSP^MR"))
    assert isinstance(merged, Patient)
    assert (merged.patient_id, merged.known["patient_id"]) == ("99", "4711")


def test_what_is_not_said_stays_and_two_quotes_delete() -> None:
    (found,) = acts(admission("A08", 'PID|1||4711||||""|""'))
    assert isinstance(found, Patient)
    assert found.known == {"patient_id": "4711", "patient_birth_date": None, "patient_sex": ""}


CHARACTERS: tuple[tuple[str, str, str, str], ...] = (
    ("8859/1", "latin-1", "Müller^Jörg", "Müller^Jörg"),
    ("8859/2", "iso8859-2", "Dvořák^Jiří", "Dvořák^Jiří"),
    ("8859/7", "iso8859-7", "Διονυσιος^Δ", "Διονυσιος^Δ"),
    ("8859/15", "iso8859-15", "Œuvre^€", "Œuvre^€"),
    ("UNICODE UTF-8", "utf-8", "王^小東", "王^小東"),
    ("GB 18030-2000", "gb18030", "王^小東", "王^小東"),
    ("~ISO IR87", "iso2022_jp", "Yamada^Tarou^^^^^^A~山田^太郎^^^^^^I", "Yamada^Tarou=山田^太郎"),
    ("ASCII~ISO IR149", "", "Hong^Gildong", "Hong^Gildong"),
)


@pytest.mark.parametrize(("declared", "codec", "name", "expected"), CHARACTERS)
def test_text_is_read_in_the_character_set_of_msh_18(
    declared: str, codec: str, name: str, expected: str
) -> None:
    pid = f"PID|1||4711||{name}||19800229|F"
    found = entry(order(pid=pid, more=f"||||||{declared}"), codec or "ascii")
    assert found.patient_name == expected


@pytest.mark.parametrize(
    ("declared", "raw", "code"),
    [("KLINGON", b"x", "103"), ("UNICODE UTF-8", b"M\xfcller", "102"), ("", b"M\xfcller", "102")],
)
def test_text_that_cannot_be_read_is_told(declared: str, raw: bytes, code: str) -> None:
    text = order(pid="PID|1||4711||NAME", more=f"||||||{declared}").encode().replace(b"NAME", raw)
    with pytest.raises(NotRead) as error:
        acts_of(Hl7Message(text, header_of(text, assumed="ISO_IR 192")))
    assert error.value.code == code
    assert error.value.place == "MSH^1^18"


def test_escape_sequences_are_read() -> None:
    pid = r"PID|1||4711||A\T\B\F\C\X41\\H\D\N\\.br\E\Zxy\^F"
    assert entry(order(pid=pid)).patient_name == "A&B|CAD E^F"
    bomb = r"PID|1||4711||A\.sp999999999\B"
    assert entry(order(pid=bomb)).patient_name == "A B"


def test_separators_are_those_of_the_message() -> None:
    text = order().translate(str.maketrans("|^~&", "#:;%"))
    assert entry(text).patient_name == "Planted^Anna^B^Dr"


REFUSED: tuple[tuple[str, str, str, bool], ...] = (
    (order().replace("ORM^O01", "ORU^R01"), "200", "MSH^1^9", True),
    (order().replace("ORM^O01", "ORM^O99"), "201", "MSH^1^9", True),
    (admission("A24"), "201", "MSH^1^9", True),
    (order().replace("|P|2.3.1", "|P|3.0"), "203", "MSH^1^12", True),
    (order().replace("|P|2.3.1", "|X|2.3.1"), "202", "MSH^1^11", True),
    (order(message=""), "101", "MSH^1^10", True),
    (f"{msh()}\r{PID}", "101", "ORC^1", False),
    (f"{msh()}\r{PV1}", "101", "PID^1", False),
    (f"{msh()}\r{PID}\r{OBR.format('A1')}", "100", "OBR^1^1", False),
    (order("ZZ"), "103", "ORC^1^1", False),
    (order("SC", status="??"), "103", "ORC^1^5", False),
    (order(pid="PID|1||||Name"), "101", "PID^1^3", False),
    (order(pid="PID|1||4711"), "101", "PID^1^5", False),
    (order(pid="PID|1||4711||N||1980x"), "102", "PID^1^7", False),
    (order(accession="A" * 17), "104", "OBR^1^18", False),
    (order().replace("20261127103000", ""), "101", "OBR^1^27", False),
    (order().replace("20261127103000", "20261327"), "102", "OBR^1^27", False),
    (order().replace("|CT|||", "||||"), "101", "OBR^1^24", False),
    (order().replace(ZDS, "ZDS|1/2"), "102", "ZDS^1^1", False),
    (order() + "garbage\r", "100", "", False),
    (order() + "MSH\r", "100", "", False),
    (order().replace(r"^~\&", "^^^^", 1), "102", "MSH^1^2", True),
)


@pytest.mark.parametrize(("text", "code", "place", "rejected"), REFUSED)
def test_what_cannot_be_done_is_told_with_code_and_place(
    text: str, code: str, place: str, rejected: bool
) -> None:
    with pytest.raises(NotRead) as error:
        acts(text)
    told = error.value
    assert (told.code, told.place, told.rejected) == (code, place, rejected)
    assert "Planted" not in str(told)
    assert "4711" not in str(told)


def test_too_many_fields_are_refused_before_they_are_read() -> None:
    with pytest.raises(NotRead) as error:
        acts(order() + "NTE" + "|" * 20_001)
    assert error.value.code == "104"


@settings(max_examples=300)
@given(st.data())
def test_whatever_comes_is_read_or_refused(data: Any) -> None:
    raw = bytearray(order().encode())
    for _ in range(data.draw(st.integers(0, 8))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        acts_of(Hl7Message(bytes(raw), header_of(bytes(raw), assumed="ISO_IR 192")))
    except NotRead as error:
        assert error.code


def test_an_order_without_any_number_is_not_read() -> None:
    orc = segment("ORC", {1: "NW", 7: "1^^^20261127"})
    obr = segment("OBR", {1: "1", 4: "TH^Thorax^L", 24: "CT"})
    with pytest.raises(NotRead) as refused:
        acts("\r".join((msh("ORM^O01^ORM_O01"), PID, orc, obr)))
    assert refused.value.place == "OBR^1^18"
    assert str(refused.value) == "there is no accession number"


def test_as_many_orders_as_may_be_are_read_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 3
    monkeypatch.setattr(mapping, "_STEPS", most)
    for count in (most, most + 1):
        orders = [
            line.format(n)
            for n in range(count)
            for line in (
                "ORC|NW|P{0}|F{0}||||1^^^20261127",
                "OBR|1|P{0}|F{0}|TH^Thorax^L||||||||||||||A{0}||||||CT",
            )
        ]
        text = "\r".join((msh("ORM^O01^ORM_O01"), PID, *orders))
        if count == most:
            assert len(acts(text)) == most
        else:
            with pytest.raises(NotRead, match="too many steps"):
                acts(text)


def test_what_is_known_of_a_patient_is_checked_as_in_an_entry() -> None:
    long = PID.replace("4711", "4" * 65)
    with pytest.raises(NotRead) as refused:
        acts("\r".join((msh("ADT^A08^ADT_A01"), long)))
    assert refused.value.place == "PID^1^3"


@pytest.mark.parametrize(("field", "state"), [({12: "H^hot"}, "hot"), ({12: "hot"}, "hot")])
def test_the_danger_of_a_patient_is_its_text_or_its_code(field: dict[int, str], state: str) -> None:
    obr = segment("OBR", {1: "1", 4: "TH^Thorax^L", 18: "A1", 24: "CT", 36: "20261127"} | field)
    text = "\r".join((msh("ORM^O01^ORM_O01"), PID, segment("ORC", {1: "NW"}), obr))
    assert entry(text).patient_state == state
