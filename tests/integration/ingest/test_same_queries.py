"""The same queries to Darkroom, dcmqrscp and Orthanc, which have the same files.

Where an answer differs, `EXPLAINED` says why; docs/query.md has the same list in words. Without a
difference an explanation has to go, too.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from darkroom_ingest.answering.identifier import PATIENT_ROOT, STUDY_ROOT
from darkroom_local.engines.ports import free_port
from tests.integration.ingest.asking import HOST, Asked, answering, find, identifier
from tests.integration.transmit.nodes import archive_node, orthanc_node
from tests.support.builders import a_data_set, new_uid
from tests.support.services import Services

QUERIES: Final = int(os.environ.get("DARKROOM_QUERIES", "200"))
UNIQUE: Final = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}


IN_UTF_8: Final = {"SpecificCharacterSet": "ISO_IR 192"}


class Query(NamedTuple):
    """One query, and what kind of matching it is about."""

    kind: str
    level: str
    model: str
    keys: dict[str, str]


ROSA: Final = "\u0420\u043e\u0437\u0430^\u041c\u0430\u0440\u0438\u044f"
PATIENTS: Final = (
    # id, name, birth date, sex, character set
    ("P1", "Planted^Anna", "19600102", "F", "ISO_IR 100"),
    ("P2", "Planted^Bernd", "19800630", "M", "ISO_IR 100"),
    ("p1", "Planted^anna^Maria", "19600102", "F", "ISO_IR 100"),
    ("P10", "M\u00fcller^J\u00f6rg", "19701231", "M", "ISO_IR 100"),
    (
        "P11",
        "\u0420\u043e\u0437\u0430^\u041c\u0430\u0440\u0438\u044f",
        "19991231",
        "F",
        "ISO_IR 192",
    ),
    ("P-12", "Smith^John^^Dr", "", "O", "ISO_IR 100"),
)
STUDIES: Final = (
    # patient, modalities of the series, date, time, accession, study id, description
    (0, ("CT", "PT"), "20240131", "101500", "AC1", "S1", "Chest and abdomen"),
    (0, ("CT",), "20240131", "235959", "AC2", "S2", "CHEST"),
    (1, ("MR",), "20230601", "000000", "AC3", "S3", "Head"),
    (1, ("CR",), "", "", "", "S4", ""),
    (2, ("US",), "20231231", "120000.5", "AC10", "S10", "Heart (echo)"),
    (3, ("MR", "MR", "SR"), "20240101", "0815", "ac1", "S11", "Knie li."),
    (4, ("DX",), "20240229", "120000", "B*7", "S12", "Thorax 50%"),
    (5, ("CT",), "20220101", "120000", "AC_4", "S13", "head_neck"),
)


def archive() -> list[Dataset]:
    """Eight studies of six patients, one to three series each, two images each."""
    made: list[Dataset] = []
    for patient, modalities, date, time, accession, number, description in STUDIES:
        identity, name, birth, sex, charset = PATIENTS[patient]
        study = new_uid()
        for at, modality in enumerate(modalities, 1):
            series = new_uid()
            for image in (1, 2):
                one = a_data_set(
                    SpecificCharacterSet=charset,
                    PatientID=identity,
                    PatientName=name,
                    PatientBirthDate=birth,
                    PatientSex=sex,
                    StudyInstanceUID=study,
                    StudyDate=date,
                    StudyTime=time,
                    AccessionNumber=accession,
                    StudyID=number,
                    ReferringPhysicianName="House^Greg",
                    SeriesInstanceUID=series,
                    SeriesNumber=at,
                    Modality=modality,
                    InstanceNumber=image,
                )
                one.StudyDescription = description
                one.SeriesDescription = f"{modality} {at}"
                made.append(one)
    return made


def queries(objects: list[Dataset]) -> Iterator[Query]:
    """Generate queries of every level, root and kind of matching, the rarer kinds last."""
    studies = list(dict.fromkeys(str(one.StudyInstanceUID) for one in objects))
    series = list(dict.fromkeys(str(one.SeriesInstanceUID) for one in objects))
    upper = {
        str(one.SeriesInstanceUID): {
            "StudyInstanceUID": str(one.StudyInstanceUID),
            "SeriesInstanceUID": str(one.SeriesInstanceUID),
        }
        for one in objects
    }
    rows: list[tuple[str, str, dict[str, str]]] = [
        ("universal", "STUDY", {}),
        *(("single", "STUDY", {"PatientID": one[0]}) for one in PATIENTS),
        *(("single", "STUDY", {"AccessionNumber": one[4]}) for one in STUDIES if "*" not in one[4]),
        *(("single", "STUDY", {"StudyID": one[5]}) for one in STUDIES),
        *(("single", "STUDY", {"StudyDate": one[2]}) for one in STUDIES if one[2]),
        *(("single", "STUDY", {"StudyTime": one[3]}) for one in STUDIES if one[3]),
        *(("single", "STUDY", {"StudyInstanceUID": one}) for one in studies),
        *(("single", "STUDY", {"StudyDescription": one[6]}) for one in STUDIES if one[6]),
        *(("name", "STUDY", {"PatientName": one[1]}) for one in PATIENTS if one[1].isascii()),
        ("nobody", "STUDY", {"PatientID": "X"}),
        ("nobody", "STUDY", {"StudyInstanceUID": "1.2.3"}),
        ("single", "STUDY", {"PatientSex": "F"}),
        ("single", "STUDY", {"PatientBirthDate": "19600102"}),
        ("name", "STUDY", {"ReferringPhysicianName": "House^Greg"}),
        ("two keys", "STUDY", {"PatientID": "P1", "AccessionNumber": "AC2"}),
        ("two keys", "STUDY", {"PatientID": "P1", "StudyDate": "20230601"}),
        *(("wild", "STUDY", {"PatientID": one}) for one in ("P*", "P?", "*1", "?1*", "*", "P-*")),
        *(("wild", "STUDY", {"AccessionNumber": one}) for one in ("AC*", "AC?", "*C1*", "A?1")),
        *(("wild", "STUDY", {"StudyDescription": one}) for one in ("Ch*", "*ead*", "?ead", "*%")),
        *(("wild", "STUDY", {"StudyID": one}) for one in ("S1*", "S?", "*3")),
        *(
            ("wild name", "STUDY", {"PatientName": one})
            for one in ("Planted*", "*Anna", "Smith^J*")
        ),
        *(("wild name", "STUDY", {"PatientName": one}) for one in ("*^*", "Pl?nted^*")),
        *(("wild name", "STUDY", {"PatientName": one}) for one in ("*", "Z*", "Smith^J*")),
        *(
            ("range", "STUDY", {"StudyDate": one})
            for one in ("20230101-20231231", "20240101-", "-20231231", "20240131-20240131")
        ),
        *(
            ("range of times", "STUDY", {"StudyTime": one})
            for one in ("100000-120000", "1015-", "-000000", "08-09", "120000-120001")
        ),
        ("range", "STUDY", {"StudyDate": "20240131", "StudyTime": "100000-110000"}),
        ("range", "STUDY", {"PatientBirthDate": "19600101-19701231"}),
        ("list", "STUDY", {"StudyInstanceUID": "\\".join(studies[:3])}),
        ("list", "STUDY", {"StudyInstanceUID": "\\".join([*studies[:2], "1.2.3"])}),
        *(("modality", "STUDY", {"ModalitiesInStudy": one}) for one in ("CT", "PT", "SR", "XA")),
        ("modality", "STUDY", {"ModalitiesInStudy": "C*"}),
        ("case", "STUDY", {"PatientName": "planted^anna"}),
        ("case", "STUDY", {"PatientName": "PLANTED*"}),
        ("case", "STUDY", {"StudyDescription": "chest"}),
        ("case", "STUDY", {"AccessionNumber": "Ac1"}),
        ("accents", "STUDY", {"PatientName": "M\u00fcller*", "SpecificCharacterSet": "ISO_IR 100"}),
        ("accents", "STUDY", {"PatientName": "M\u00fcller*", **IN_UTF_8}),
        ("accents", "STUDY", {"PatientName": "Muller*"}),
        ("accents", "STUDY", {"PatientName": f"{ROSA[:4]}*", **IN_UTF_8}),
        ("name by its parts", "STUDY", {"PatientName": "Smith^John"}),
        ("name by its parts", "STUDY", {"PatientName": "Planted"}),
        ("empty values", "STUDY", {"AccessionNumber": "*"}),
        ("empty values", "STUDY", {"StudyDate": "19000101-"}),
        ("patterns in values", "STUDY", {"AccessionNumber": "B*7"}),
        ("patterns in values", "STUDY", {"AccessionNumber": "AC_4"}),
        ("patterns in values", "STUDY", {"StudyDescription": "head_*"}),
        ("upper", "SERIES", {"StudyInstanceUID": studies[0]}),
        *(("upper", "SERIES", {"StudyInstanceUID": one}) for one in studies[1:]),
        *(("upper", "SERIES", upper[one]) for one in series),
        *(
            ("upper", "SERIES", {"StudyInstanceUID": studies[0], "Modality": one})
            for one in ("CT", "PT", "MR", "?T", "C*")
        ),
        *(
            ("upper", "SERIES", {"StudyInstanceUID": studies[5], "SeriesNumber": one})
            for one in ("1", "2", "9")
        ),
        ("upper", "SERIES", {"StudyInstanceUID": studies[5], "SeriesDescription": "MR*"}),
        ("list", "SERIES", {**upper[series[-4]], "SeriesInstanceUID": "\\".join(series[-5:])}),
        *(("upper", "IMAGE", upper[one]) for one in series),
        *(("upper", "IMAGE", {**upper[one], "InstanceNumber": "2"}) for one in series[:4]),
        *(
            (
                "upper",
                "IMAGE",
                {**upper[str(one.SeriesInstanceUID)], "SOPInstanceUID": str(one.SOPInstanceUID)},
            )
            for one in objects[:4]
        ),
        ("relational", "SERIES", {"Modality": "MR"}),
        ("relational", "IMAGE", {"StudyInstanceUID": studies[0]}),
        ("relational", "SERIES", {}),
    ]
    for kind, level, keys in rows:
        yield Query(kind, level, STUDY_ROOT, keys)
    patient_rows: list[tuple[str, str, dict[str, str]]] = [
        ("universal", "PATIENT", {}),
        *(("single", "PATIENT", {"PatientID": one[0]}) for one in PATIENTS),
        *(("name", "PATIENT", {"PatientName": one[1]}) for one in PATIENTS if one[1].isascii()),
        *(("wild", "PATIENT", {"PatientID": one}) for one in ("P*", "P1?", "*2")),
        ("wild name", "PATIENT", {"PatientName": "Planted*"}),
        ("range", "PATIENT", {"PatientBirthDate": "19700101-"}),
        ("single", "PATIENT", {"PatientSex": "M"}),
        *(("upper", "STUDY", {"PatientID": one[0]}) for one in PATIENTS),
        ("upper", "STUDY", {"PatientID": "P1", "StudyDate": "20240131"}),
        *(
            ("upper", "SERIES", {"PatientID": PATIENTS[row[0]][0], "StudyInstanceUID": one})
            for row, one in zip(STUDIES, studies, strict=True)
        ),
        ("wrong patient", "SERIES", {"PatientID": "P2", "StudyInstanceUID": studies[0]}),
    ]
    for kind, level, keys in patient_rows:
        yield Query(kind, level, PATIENT_ROOT, keys)


def told(found: list[tuple[int, Dataset]], level: str) -> Counter[str]:
    """How often each result was told."""
    return Counter(str(match[UNIQUE[level]].value) for _, match in found)


UNKNOWN_TO_DCMQRSCP: Final = {"ModalitiesInStudy", "SeriesDescription"}
Reason = tuple[str, str, Callable[[Query], bool]]
EXPLAINED: Final[tuple[Reason, ...]] = (
    ("dcmqrscp", "whole second", lambda one: one.keys.get("StudyTime", "").endswith("120000")),
    ("Orthanc", "whole second", lambda one: one.keys.get("StudyTime", "").endswith("120000")),
    ("dcmqrscp", "key not known", lambda one: one.keys.keys() & UNKNOWN_TO_DCMQRSCP != set()),
    ("dcmqrscp", "case of names", lambda one: one.kind == "case" and "PatientName" in one.keys),
    ("dcmqrscp", "accents of names", lambda one: one.keys.get("PatientName") == "Muller*"),
    ("Orthanc", "accents of names", lambda one: one.keys.get("PatientName") == "Muller*"),
    ("dcmqrscp", "relational", lambda one: one.kind == "relational"),
    ("Orthanc", "nothing is early", lambda one: any(v.startswith("-") for v in one.keys.values())),
)
"""Whose answer differs, the row of docs/query.md that says why, and at which queries."""


@pytest.mark.req("ING-11")
async def test_the_same_queries_have_the_same_answers(services: Services, tmp_path: Path) -> None:
    """Every difference to dcmqrscp and Orthanc is one that is explained, and all of those occur."""
    objects = archive()
    files = [(one, str(ExplicitVRLittleEndian)) for one in objects]

    def compare(asked: Asked) -> list[tuple[str, Query, Counter[str], Counter[str]]]:
        found = []
        with (
            archive_node(tmp_path, files, move_to=("ASKER", free_port())) as theirs,
            orthanc_node(tmp_path, move_to=("ASKER", free_port())) as (orthanc, http),
            httpx.Client(base_url=f"http://{HOST}:{http}", timeout=30) as client,
        ):
            for path in sorted((tmp_path / "archive").glob("*.dcm")):
                client.post("/instances", content=path.read_bytes()).raise_for_status()
            with (
                asked.association() as ours,
                asked.association(port=theirs, called="ARCHIVE") as dcmqrscp,
                asked.association(port=orthanc, called="ORTHANC") as other,
            ):
                for query in islice(queries(objects), QUERIES):
                    wanted = identifier(query.level, **{UNIQUE[query.level]: "", **query.keys})
                    here = told(find(ours, wanted, query.model)[1], query.level)
                    for witness, association in (("dcmqrscp", dcmqrscp), ("Orthanc", other)):
                        there = told(find(association, wanted, query.model)[1], query.level)
                        if here != there:
                            found.append((witness, query, here, there))
        return found

    async with answering(services, tmp_path) as asked:
        await asked.seed.add(*objects)
        found = await asyncio.to_thread(compare, asked)
    assert len(list(queries(objects))) >= 200
    explained: Counter[tuple[str, str]] = Counter()
    for witness, query, here, there in found:
        reasons = [why for who, why, at in EXPLAINED if who == witness and at(query)]
        assert len(reasons) == 1, (witness, query, here, there)
        explained[witness, reasons[0]] += 1
    if QUERIES >= 200:
        assert explained.keys() == {(who, why) for who, why, _ in EXPLAINED}
