"""What lists of studies are narrowed by: kept by triggers, and gone through in whichever way."""

import asyncio
import datetime as dt
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import AsyncMock

import asyncpg
import pytest

from darkroom_api.studies.examinations import Examinations
from darkroom_api.studies.search import StudyFilters, query_of
from darkroom_common.index import pages, reader, sql
from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.matching import windows
from darkroom_common.index.matching.rare import among_rare
from darkroom_common.index.matching.windows import window_of
from darkroom_common.index.query import Query, conditions
from darkroom_common.index.reader import IndexReader
from darkroom_common.postgres.migrate import migrate
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_common.postgres.pool import Database, open_database
from darkroom_metadata.studies.infix import InfixRuns
from tests.integration.api.seed import Seed
from tests.support.builders import a_data_set, new_uid
from tests.support.services import WITH_SCHEMA, prepare_database, role_url

DESCRIPTION = BY_KEYWORD["StudyDescription"]
KEYS = PhiKeys.parse(
    '{"current": 1, "keys": {"1": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}'
)
IS = "SELECT * FROM index.listing ORDER BY study_id"
SHOULD_BE = (
    "SELECT s.id, s.study_instance_uid, s.study_date, s.status, s.modalities, s.calling_ae_titles,"
    " coalesce(e.exam_status, 'pending'), e.physician_key, coalesce((SELECT ordered_at AT TIME ZONE"
    " 'UTC' FROM index.study_order o WHERE o.study_instance_uid = s.study_instance_uid),"
    " s.study_date + coalesce(s.study_time, '00:00')"
    " - make_interval(mins => coalesce(s.utc_offset, 0))) FROM index.study s"
    " LEFT JOIN api.examination e USING (study_instance_uid)"
    " WHERE s.status <> 'deleted' ORDER BY s.id"
)
UNDO = """
    DROP TABLE index.listing, index.study_order;
    ALTER TABLE index.study DROP COLUMN utc_offset CASCADE;
    DROP FUNCTION index.ordered_of, index.learn_order;
    DROP FUNCTION index.list_study CASCADE;
    DROP FUNCTION api.list_examination CASCADE;
    DROP INDEX index.study_search, index.study_beside_search, api.audit_of_failure;
    DELETE FROM index.schema_migration WHERE name LIKE '%listing%' OR name LIKE '%orders%';
    DELETE FROM api.schema_migration WHERE name LIKE '%listing%';
"""
FORMER_INDEXES = [
    f"CREATE INDEX {table}_{name} ON index.{table} USING gin ({column})"
    for table in ("study", "study_beside")
    for name, column in (
        ("blind", "blind"),
        ("modalities", "modalities"),
        ("sources", "calling_ae_titles"),
    )
]


@dataclass
class House:
    """A database with an index, and who works on it."""

    superuser: "asyncpg.Connection[asyncpg.Record]"
    url: str
    seed: Seed
    database: Database
    exams: Examinations
    reader: IndexReader
    runs: InfixRuns
    blind: BlindIndex

    async def say(self, uid: str, status: str = "", physician: str = "") -> None:
        async with self.database.transaction() as db:
            if status:
                await self.exams.set_status(db, [uid], status, by="x", reason="")  # type: ignore[arg-type]
            if physician:
                await self.exams.assign(db, [uid], physician, by="x")

    async def order(self, uid: str, at: str) -> None:
        moment = dt.datetime.fromisoformat(at)
        await self.superuser.execute("SELECT index.learn_order($1, $2, 1)", uid, moment)

    async def require_right(self) -> int:
        listed = await self.superuser.fetch(IS)
        assert [tuple(row) for row in listed] == [
            tuple(row) for row in await self.superuser.fetch(SHOULD_BE)
        ]
        return len(listed)

    async def query(self, **filters: str) -> Query:
        asked = StudyFilters.model_validate(filters)
        query = await query_of(asked, self.exams, self.database)
        assert query is not None
        return query


@pytest.fixture
async def house(superuser_url: str, tmp_path: Path) -> AsyncIterator[House]:
    await prepare_database(superuser_url, "metadata", "api")
    blind = BlindIndex(secrets.token_bytes(32))
    superuser = await asyncpg.connect(superuser_url)
    async with (
        open_database(role_url(superuser_url, "darkroom_metadata"), service="seed") as written,
        open_database(role_url(superuser_url, "darkroom_api"), service="test") as database,
    ):
        yield House(
            superuser,
            superuser_url,
            Seed(written, tmp_path, KEYS, blind),
            database,
            Examinations(KEYS, blind),
            IndexReader(database, keys=KEYS, blind=blind),
            InfixRuns(written, KEYS, blind),
            blind,
        )
    await superuser.close()


@pytest.mark.parametrize(
    ("filters", "wide"),
    [
        ({"accession_number": "*q*"}, ("AccessionNumber",)),
        ({"patient_name": "smith", "accession_number": "*q*"}, ("AccessionNumber",)),
        ({"accession_number": "*zz*"}, ()),
        ({"q": "smith"}, ()),
    ],
)
async def test_what_no_index_knows_is_named_when_a_search_takes_too_long(
    house: House, monkeypatch: pytest.MonkeyPatch, filters: dict[str, str], wide: tuple[str, ...]
) -> None:
    query = await house.query(**filters)
    monkeypatch.setattr(reader, "SEARCH_SECONDS", 0.1)
    async with house.superuser.transaction():
        await house.superuser.execute("LOCK TABLE index.study")
        with pytest.raises(reader.SearchTooLong) as caught:
            await house.reader.search(query)
    assert caught.value.wide == wide


async def test_all_statements_of_a_search_share_its_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def goes_on(*_: object) -> None:
        await asyncio.Event().wait()  # each of its statements is in time, and there is another

    monkeypatch.setattr(house.reader, "_page", goes_on)
    monkeypatch.setattr(reader, "SEARCH_SECONDS", 0.5)
    with pytest.raises(reader.SearchTooLong) as caught:
        await house.reader.search(await house.query(accession_number="*q*"))
    assert caught.value.wide == ("AccessionNumber",)


async def test_triggers_keep_the_listing_right(house: House) -> None:
    first, second = a_data_set(), a_data_set(StudyDate="20250203")
    await house.seed.add(first, second)
    assert await house.require_right() == 2
    uid = str(first.StudyInstanceUID)
    await house.say(uid, "completed", "Dr. Jane Smith")
    assert await house.require_right() == 2
    other = a_data_set(StudyInstanceUID=uid, PatientID="ANOTHER", PatientName="Other^Body")
    await house.seed.add(other)  # beside the first, with what was said of the UID
    assert await house.require_right() == 3
    await house.say(uid, "cancelled", "Dr. No")
    for change in (
        "UPDATE index.study SET study_date = NULL WHERE study_instance_uid = $1",
        "SELECT index.learn_order($1, '2025-03-04T05:06:07Z', 2)",
        "UPDATE index.study SET study_time = '01:02:03' WHERE study_instance_uid = $1",
        "SELECT index.learn_order($1, '2024-03-04T05:06:07Z', 1)",
        "SELECT index.learn_order($1, NULL, 3)",
        "UPDATE index.study SET utc_offset = -90 WHERE study_instance_uid = $1",
        "UPDATE index.study SET status = 'archived' WHERE study_instance_uid = $1",
        "UPDATE index.study SET modalities = '{SR}' WHERE study_instance_uid = $1",
        "UPDATE index.study SET calling_ae_titles = '{A,B}' WHERE study_instance_uid = $1",
        "UPDATE index.study SET status = 'deleted' WHERE study_instance_uid = $1",
        "UPDATE index.study SET status = 'complete' WHERE study_instance_uid = $1",
        "DELETE FROM api.examination WHERE study_instance_uid = $1",
        "DELETE FROM index.study_beside WHERE study_instance_uid = $1",
    ):
        await house.superuser.execute(change, uid)
        assert await house.require_right() == {"deleted": 1, "_beside": 2}.get(
            "deleted" if "'deleted'" in change else "_beside" if "_beside" in change else "", 3
        )


async def test_what_stands_in_a_name_is_found_whoever_has_written_it(house: House) -> None:
    found = "SELECT study_id FROM index.infix WHERE due OR runs IS NULL ORDER BY study_id"

    async def matches(pattern: str) -> int | None:
        return await house.reader.count(await house.query(patient_name=pattern))

    first, second = a_data_set(PatientName="Quarry^Zoe"), a_data_set(PatientName="Other^Body")
    await house.seed.add(first, second)
    uid = str(first.StudyInstanceUID)
    await house.seed.add(a_data_set(StudyInstanceUID=uid, PatientID="B", PatientName="Equal^Ann"))
    numbers = [row[0] for row in await house.superuser.fetch(found)]
    assert len(numbers) == 3  # new, and the one beside
    for known in (False, True):
        if known:
            assert await house.runs.fill() == numbers
            assert await house.superuser.fetch(found) == []
        assert [await matches(one) for one in ("*qua*", "*oe", "q*y^z?e", "*zzq*", "*q*")] == [
            2,
            1,
            1,
            0,
            2,
        ]
    for change, left in (
        ("UPDATE index.study SET version = version + 1 WHERE id = $1", 0),
        ("UPDATE index.study SET blind = blind || '{x}'::bytea[] WHERE id = $1", 1),
    ):
        await house.superuser.execute(change, numbers[-1])
        assert len(await house.superuser.fetch(found)) == left
        assert await matches("*qua*") == 2
    await house.superuser.execute("DELETE FROM index.study_beside WHERE id = $1", numbers[-1])
    assert await house.superuser.fetchval("SELECT count(*) FROM index.infix") == 2
    ideographs = "".join(map(chr, range(0x4E00, 0x5200)))
    long = a_data_set(SpecificCharacterSet="ISO_IR 192", StudyDescription=ideographs)
    await house.seed.add(long)
    assert len(await house.runs.fill()) == 1
    assert await house.runs.fill() == []
    query = replace(await house.query(), conditions=conditions(DESCRIPTION, "*\u4e05\u4e06*"))
    assert await house.reader.count(query) == 1


@pytest.mark.parametrize("order", [("metadata", "api"), ("api", "metadata")])
async def test_either_schema_may_be_migrated_first(house: House, order: tuple[str, ...]) -> None:
    first, second = a_data_set(), a_data_set()
    await house.seed.add(first, second)
    await house.superuser.execute(UNDO)
    for statement in FORMER_INDEXES:
        await house.superuser.execute(f"SET ROLE darkroom_migrate; {statement}; RESET ROLE")
    await house.say(str(first.StudyInstanceUID), "completed", "Dr. Jane Smith")
    url = role_url(house.url, "darkroom_migrate")
    for name in order:
        await migrate(url, schema=WITH_SCHEMA[name], package=f"darkroom_{name}")
    assert await house.require_right() == 2
    await house.say(str(second.StudyInstanceUID), "in_progress")
    await house.seed.add(a_data_set())
    assert await house.require_right() == 3


async def test_pages_of_all_there_is(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever part of the newest is looked at first, and however many there are."""
    for number in range(6):
        first = a_data_set(StudyDate="" if number == 2 else f"2024010{1 + number // 2}")
        study = str(first.StudyInstanceUID)
        for which in range(1 + number % 3):
            series = new_uid()
            for place in (2, 1, None):
                await house.seed.add(
                    a_data_set(
                        StudyInstanceUID=study,
                        StudyDate=first.StudyDate,
                        SeriesInstanceUID=series,
                        SeriesNumber=9 - which,
                        InstanceNumber=place,
                    )
                )
    for level, table in ((Level.SERIES, "series"), (Level.INSTANCE, "instance")):
        joined = "JOIN index.instance i ON i.series_id = e.id" if table == "instance" else ""
        order = ", i.instance_number, i.id" if joined else ""
        uid = "i.sop_instance_uid" if joined else "e.series_instance_uid"
        rows = await house.superuser.fetch(
            f"SELECT {uid} FROM index.study s JOIN index.series e ON e.study_id = s.id {joined}"
            f" ORDER BY s.study_date DESC NULLS LAST, s.id DESC, e.series_number, e.id{order}"
        )
        wanted = [row[0] for row in rows]
        for rungs, cap in itertools.product([(), (3,), (4, 100)], [5, 10_000]):
            for module in (pages, reader, sql):
                monkeypatch.setattr(module, "COUNT_CAP", cap)
            monkeypatch.setattr(pages, "_RUNGS", rungs)
            house.reader = IndexReader(house.database, keys=KEYS, blind=house.blind)
            for offset in range(len(wanted) + 1):
                page = await house.reader.search(Query(level, limit=2, offset=offset))
                found = [
                    one.instance.sop_instance_uid
                    if one.instance
                    else one.series.series_instance_uid
                    for one in page.results
                    if one.series
                ]
                assert found == wanted[offset : offset + 2], (level, rungs, offset)
                assert page.more == (offset + 2 < len(wanted))
                known = cap > len(wanted) or (found and not page.more)
                assert page.total == (len(wanted) if known else None), (level, rungs, cap, offset)


ORDERS = {
    False: "SELECT id, study_instance_uid FROM index.study"
    " ORDER BY study_date DESC NULLS LAST, id DESC",
    True: "SELECT study_id, study_instance_uid FROM index.listing"
    " ORDER BY ordered DESC NULLS LAST, study_id DESC",
}


async def fourteen(house: House, *, ordered: bool) -> None:
    """Add studies; when they are ordered, the oldest of them is that last."""
    for number in range(14):
        one = a_data_set(
            StudyDate="" if number in (3, 9, 12) else f"202401{1 + number // 2:02d}",
            AccessionNumber=f"N{number}",
            Modality="MR" if number % 3 else "CT",
            PatientName="Even^Anna" if number % 2 else "Odd^Anna",
        )
        await house.seed.add(one)
        status = "completed" if number % 4 else "cancelled"
        await house.say(str(one.StudyInstanceUID), status, "Dr. X" if number % 5 else "Dr. Y")
        if ordered and number < 13:
            await house.order(str(one.StudyInstanceUID), f"2024-01-{7 - number // 2:02d}T10:00Z")
        if number < 7:  # the runs of the others are not known yet
            await house.runs.fill()


async def met(query: Query, _: object, ids: Callable[[Query, int], Awaitable[list[int]]]) -> Query:
    """Take it that words are frequent, and what else is asked for is not."""
    guessed = AsyncMock(side_effect=lambda one: 10**6 if one.words else 1)
    found = await among_rare(query, guessed, ids)
    assert (found == query) == (query.of_listing is None)
    return found


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("many", [0, 4, 10**9])
@pytest.mark.parametrize(("within", "step"), [(1, 2), (100, 0)])
async def test_every_way_to_a_page_leads_to_the_same_one(
    house: House, monkeypatch: pytest.MonkeyPatch, many: int, within: int, step: int, ordered: bool
) -> None:
    """Whatever is guessed of how many match, and however far a page is."""
    await fourteen(house, ordered=ordered)
    for module, name, value in (
        (reader, "MANY", many),
        (reader, "MANY_FAR", 2 * many),
        (reader, "FAR", 3),
        (reader, "WITHIN", within),
        (reader, "LISTED_WITHIN", within),
        (reader, "HOP", 2),
    ):
        monkeypatch.setattr(module, name, value)
    if step:  # many are expected, in a window of about as many studies as a page needs
        monkeypatch.setattr(windows, "_STEP", step)
        monkeypatch.setattr(reader, "window_of", lambda query, *_: window_of(query, 13, 14))
        monkeypatch.setattr(IndexReader, "guessed", AsyncMock(return_value=10**10))
    else:
        monkeypatch.setattr(reader, "among_rare", met)
    every = await house.superuser.fetch(ORDERS[ordered])
    place = {row["study_instance_uid"]: number for number, row in enumerate(every)}
    for filters, expected in (
        ({}, 14),
        ({"q": "anna"}, 14),
        ({"q": "even"}, 7),
        ({"q": "odd", "modality": "CT"}, 3),
        ({"exam_status": "cancelled"}, 4),
        ({"exam_status": "pending"}, 0),
        ({"status": "receiving", "q": "even"}, 7),
        ({"exam_status": "completed", "q": "even"}, 7),
        ({"exam_status": "cancelled", "q": "an odd", "modality": "MR"}, 2),
        ({"physician": "dr", "modality": "MR"}, 9),
        ({"physician": "x", "exam_status": "completed"}, 8),
        ({"start_date": "2024-01-03", "end_date": "2024-01-05", "q": "anna"}, 6 if ordered else 5),
        ({"patient_name": "*ven*"}, 7),
        ({"patient_name": "*n^ann*"}, 7),
        ({"patient_name": "?dd^*a", "exam_status": "cancelled"}, 4),
        ({"patient_name": "e*a", "exam_status": "cancelled"}, 0),
        ({"accession_number": "*13"}, 1),
        ({"patient_name": "*zzq*"}, 0),
        ({"modality": "CT"}, 5),
        ({"modality": "C*", "exam_status": "completed"}, 3),
        ({"exam_source": "NOWHERE"}, 0),
    ):
        query = await house.query(**filters)
        query = replace(query, by_order=ordered)  # whichever it is narrowed by
        whole = await house.reader.search(replace(query, limit=50))
        wanted = [one.study.study_instance_uid for one in whole.results]
        assert wanted == sorted(wanted, key=place.__getitem__)
        assert (len(wanted), whole.total) == (expected, expected), filters
        for offset in range(expected + 2):
            page = await house.reader.search(replace(query, limit=2, offset=offset))
            found = [one.study.study_instance_uid for one in page.results]
            assert found == wanted[offset : offset + 2], (filters, offset)
            assert page.more == (offset + 2 < expected)
            assert page.total in (expected, None)
        after, seen = None, []
        while True:
            page = await house.reader.search(replace(query, limit=2, after=after))
            seen += [one.study.study_instance_uid for one in page.results]
            after = page.last
            if after is None:
                break
        assert seen == wanted, filters
