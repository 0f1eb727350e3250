"""What is listed of a sender's text is applied by the index, to what comes and to what is there."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from darkroom_common.dicom.charset import UNDECLARED, WRONG
from darkroom_metadata.reindexing.command import Reindexing
from darkroom_metadata.reindexing.run import Scope
from darkroom_metadata.reindexing.study import StudyReindexer
from darkroom_metadata.verification.judgement import Pace
from darkroom_metadata.verification.verification import Brake
from tests.integration.metadata.test_indexer import BLIND, KEY, KEYS, Bench, indexing
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared


@pytest.fixture
async def bench(superuser_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    prepared = await Prepared.make(superuser_url, "ingest", "metadata")
    async with indexing(prepared, tmp_path) as made:
        yield made


async def index(
    bench: Bench, ae_title: str, raw: bytes, declared: str | None = None, **changes: str
) -> None:
    """Index an object of a sender whose name of the patient is these bytes."""
    name = raw + b" " * (len(raw) % 2)
    place = "N" * len(name)
    made = a_data_set(PatientName=place, **changes)
    if declared is not None:
        made.SpecificCharacterSet = declared
    event = bench.stored(made, calling_ae_title=ae_title)
    path = bench.directory / event.object_key
    content = path.read_bytes()
    assert content.count(place.encode()) == 1
    path.write_bytes(content.replace(place.encode(), name))
    await bench.index(event)


async def listed(bench: Bench, ae_title: str, name: str | None, rule: str = "undeclared") -> None:
    await bench.prepared.fetch(
        "INSERT INTO ingest.calling_ae (ae_title, host_rule, character_set, character_set_rule)"
        " VALUES ($1, 'any', $2, $3) ON CONFLICT (ae_title) DO UPDATE SET"
        " character_set = excluded.character_set, character_set_rule = excluded.character_set_rule",
        ae_title,
        name,
        rule,
    )


async def names(bench: Bench) -> dict[str, tuple[str, list[str]]]:
    """Return name and flags by calling AE."""
    rows = await bench.prepared.fetch(
        "SELECT calling_ae_title AS ae, flags, pgp_sym_decrypt(header, $1) AS header"
        " FROM index.instance",
        KEY,
    )

    def name(row: Any) -> str:
        groups: dict[str, str] = json.loads(row["header"])["00100010"]["Value"][0]
        return "=".join(groups.values())

    return {row["ae"]: (name(row), list(row["flags"])) for row in rows}


def counted(flag: str) -> float:
    return REGISTRY.get_sample_value("darkroom_odd_text_total", {"flag": flag}) or 0.0


async def test_what_is_listed_of_a_sender_is_assumed(bench: Bench) -> None:
    await listed(bench, "CT*", "GB18030")
    await listed(bench, "CT-9", None)  # its own entry is in force, and says nothing
    await listed(bench, "US1", "windows-1251", "always")
    gbk, cyrillic = "张三^李".encode("gbk"), "Иванов".encode("cp1251")
    sent = {
        "CT-1": (gbk, None),
        "CT-9": (gbk, None),
        "US1": (cyrillic, "ISO_IR 144"),
        "US2": (cyrillic, "ISO_IR 144"),
        "OTHER": ("Šimić".encode(), None),
        "FALSE": ("Jörg".encode("latin-1"), "ISO_IR 192"),
    }
    before = {flag: counted(flag) for flag in (UNDECLARED, WRONG)}
    for ae_title, (raw, declared) in sent.items():
        await index(bench, ae_title, raw, declared)
    assert {flag: counted(flag) - n for flag, n in before.items()} == {UNDECLARED: 2, WRONG: 1}
    found = await names(bench)
    assert found["CT-1"] == ("张三^李", [])
    assert found["CT-9"] == ("ÕÅÈý^Àî", [UNDECLARED])
    assert found["US1"] == ("Иванов", [])
    assert found["US2"][0] != "Иванов"
    assert found["OTHER"] == ("Šimić", [UNDECLARED])
    assert found["FALSE"] == ("Jörg", [WRONG])


async def test_what_is_there_is_read_again_under_what_is_listed_now(bench: Bench) -> None:
    await index(bench, "CT-1", "张三^李".encode("gbk"))
    assert (await names(bench))["CT-1"][1] == [UNDECLARED]
    await listed(bench, "CT-1", "GBK")
    indexer = bench.indexer
    studies = StudyReindexer(indexer.database, indexer.reading, KEYS, Brake(Pace(0)))
    await Reindexing(indexer.database, studies, lambda _: None).run(Scope(every=True))
    assert (await names(bench))["CT-1"] == ("张三^李", [])
    (row,) = await bench.prepared.fetch(
        "SELECT pgp_sym_decrypt(phi, $1)::jsonb AS phi, blind FROM index.study", KEY
    )
    assert json.loads(row["phi"])["n"]["PatientName"] == "张三^李"
    assert BLIND.exact("PatientName", "张三^李") in row["blind"]


async def test_without_the_tables_of_ingest_nothing_is_assumed(bench: Bench) -> None:
    await bench.prepared.fetch("DROP SCHEMA ingest CASCADE")
    await index(bench, "CT-1", "Šimić".encode())
    assert (await names(bench))["CT-1"] == ("Šimić", [UNDECLARED])


@pytest.mark.parametrize("good_first", [True, False])
async def test_a_name_in_other_characters_is_no_other_patient(
    bench: Bench, good_first: bool
) -> None:
    """A study is not filed apart for what one of its senders does not say, or says wrongly."""
    same = {"StudyInstanceUID": new_uid(), "PatientID": "P1"}
    good = ("GOOD", "张三^李".encode(), "ISO_IR 192")
    bad = ("BAD", "张三^李".encode("gbk"), None)
    false = ("FALSE", "张三^李".encode("gbk"), "ISO_IR 192")
    for ae_title, raw, declared in (good, bad, false) if good_first else (bad, false, good):
        await index(bench, ae_title, raw, declared, **same)
    assert await studies(bench) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, when it writes
async def test_a_name_that_is_sure_is_compared_for_all_that(bench: Bench) -> None:
    same = {"StudyInstanceUID": new_uid(), "PatientID": "P1"}
    await index(bench, "ONE", b"Doe^Jane", "ISO_IR 999", **same)  # flagged, and yet plain
    await index(bench, "TWO", b"Roe^Mary", "ISO_IR 100", **same)
    assert await studies(bench) == 2


async def studies(bench: Bench) -> int:
    """Return how many rows of studies there are, those filed beside others among them."""
    (row,) = await bench.prepared.fetch("SELECT count(*) AS n FROM index.study")
    return int(row["n"])
