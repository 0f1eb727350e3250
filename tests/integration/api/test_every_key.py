"""Every key of QIDO-RS, by its keyword and by its tag, at each level that it is a key of."""

from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset

from darkroom_common.index.fields import BY_KEYWORD, FIELDS, Field, Kept, Level
from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set, new_uid

LEVELS = (Level.STUDY, Level.SERIES, Level.INSTANCE)
PATHS = {Level.STUDY: "/studies", Level.SERIES: "/series", Level.INSTANCE: "/instances"}
STEP, PROCEDURE = (
    f"RequestAttributesSequence.{name}"
    for name in ("ScheduledProcedureStepID", "RequestedProcedureID")
)
VALUES = {
    "PatientName": "Keyed^Kim",
    "PatientID": "KEY-1",
    "IssuerOfPatientID": "ISSUER-1",
    "PatientBirthDate": "19610203",
    "PatientSex": "O",
    "OtherPatientIDs": "OTHER-1",
    "OtherPatientNames": "Other^Name",
    "StudyDate": "20010203",
    "StudyTime": "112233",
    "AccessionNumber": "ACC-KEY",
    "ReferringPhysicianName": "Referring^Ruth",
    "StudyDescription": "described study",
    "NameOfPhysiciansReadingStudy": "Reading^Rita",
    "StudyInstanceUID": new_uid(),
    "StudyID": "STUDY-KEY",
    "ModalitiesInStudy": "NM",
    "SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.20",
    "Modality": "NM",
    "SeriesInstanceUID": new_uid(),
    "SeriesNumber": "41",
    "PerformedProcedureStepStartDate": "20010204",
    "PerformedProcedureStepStartTime": "010203",
    "SeriesDate": "20010205",
    "SeriesTime": "040506",
    "Manufacturer": "MADE BY",
    "InstitutionName": "AN INSTITUTION",
    "StationName": "STATION-1",
    "SeriesDescription": "described series",
    "InstitutionalDepartmentName": "A DEPARTMENT",
    "PerformingPhysicianName": "Performing^Pia",
    "OperatorsName": "Operating^Olga",
    "ManufacturerModelName": "MODEL-1",
    "BodyPartExamined": "KNEE",
    "ProtocolName": "PROTOCOL-1",
    "Laterality": "L",
    "PerformedProcedureStepID": "PPS-1",
    STEP: "SPS-1",
    PROCEDURE: "RP-1",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.20",
    "SOPInstanceUID": new_uid(),
    "InstanceNumber": "43",
    "NumberOfFrames": "1",
    "Rows": "4",
    "Columns": "1",
    "BitsAllocated": "16",
}
COMPUTED = ("ModalitiesInStudy", "SOPClassesInStudy")
"""Of studies, from all that is in them."""


def an_object() -> Dataset:
    plain = {k: v for k, v in VALUES.items() if "." not in k and k not in COMPUTED}
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = VALUES[STEP], VALUES[PROCEDURE]
    numbers = {name: int(plain[name]) for name in ("Rows", "Columns", "BitsAllocated")}
    return a_data_set(**plain | numbers, RequestAttributesSequence=[item], PixelData=bytes(8))


def searches() -> Iterator[tuple[Level, Field]]:
    """Every key at its own level and below; `Modality` of studies is what is in them."""
    for keyword in VALUES:
        field = BY_KEYWORD[keyword]
        above = Level.STUDY if field.level is Level.PATIENT else field.level
        for level in LEVELS[LEVELS.index(above) :]:
            yield level, field
    yield Level.STUDY, BY_KEYWORD["Modality"]


def test_none_is_left_out() -> None:
    found = {one.keyword for one in FIELDS if one.kept in (Kept.COLUMN, Kept.SEARCHABLE)}
    assert found | set(COMPUTED) == set(VALUES)


@pytest.mark.req("API-11")
async def test_every_key_finds_what_has_it_and_nothing_else(api: Api) -> None:
    mine, other = an_object(), a_data_set(NumberOfFrames=2)
    await api.seed.add(mine, other)
    asked = 0
    for level, field in searches():
        value = VALUES[field.keyword]
        for name in (field.keyword, field.tag):
            answer = await api.client.get(f"/dicom-web{PATHS[level]}", params={name: value})
            assert answer.status_code == 200, (level, name, answer.text)
            found = [one["0020000D"]["Value"] for one in answer.json()]
            assert found == [[VALUES["StudyInstanceUID"]]], (level, name)
            asked += 1
        wrong = "1.2.3" if field.vr == "UI" else {"DA": "19000101", "TM": "235959"}.get(field.vr)
        wrong = wrong or ("77" if field.vr in ("IS", "US") else "NOBODY")
        answer = await api.client.get(f"/dicom-web{PATHS[level]}", params={field.keyword: wrong})
        assert (answer.status_code, answer.json()) == (200, []), (level, field.keyword)
    assert asked > 2 * len(VALUES)
