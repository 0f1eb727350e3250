"""What people say of a study as an examination, and by which names studies are meant."""

import asyncio

from darkroom_api.studies.examinations import Examination, Examinations
from darkroom_common.index.identity import studies_named
from darkroom_common.postgres.pool import open_database
from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set
from tests.support.services import role_url

UNTOUCHED = Examination("pending", "", 0, None)


async def test_many_are_changed_at_once_and_each_failure_is_told(api: Api) -> None:
    one, two = a_data_set(AccessionNumber="ACC-1"), a_data_set(AccessionNumber="ACC-2")
    twin = a_data_set(AccessionNumber="ACC-2")
    await api.seed.add(one, two, twin)
    exams = Examinations(api.seed.keys, api.seed.blind)
    url = role_url(api.services.superuser_url, "darkroom_api")
    async with open_database(url, service="test") as database:
        async with database.transaction() as db:
            names = ["acc-1", two.StudyInstanceUID, "ACC-2", "nobody's", "x" * 200]
            done = await exams.set_status(db, names, "completed", by="jane", reason="read")
        assert set(done.done) == {"acc-1", two.StudyInstanceUID}
        assert [one.exam_id for one in done.failed] == ["ACC-2", "nobody's", "x" * 200]
        assert {one.code for one in done.failed} == {2003}
        assert done.changed == {one.StudyInstanceUID, two.StudyInstanceUID}
        async with database.transaction() as db:
            again = await exams.set_status(db, ["ACC-1"], "completed", by="jane", reason="")
            assert (set(again.done), again.changed) == ({"ACC-1"}, frozenset())
            await exams.assign(db, ["ACC-1"], "Dr. Jane Smith", by="jane")
            await exams.assign(db, ["ACC-1"], "", by="joe")
            await exams.assign(db, ["ACC-1"], "Müller, Anna", by="joe")
        async with database.acquire() as db:
            found = await exams.shown(db, [one.StudyInstanceUID, twin.StudyInstanceUID])
            assert await exams.find(db, twin.StudyInstanceUID) == UNTOUCHED
            history = await exams.history(db, one.StudyInstanceUID)
        assert found == {
            one.StudyInstanceUID: (Examination("completed", "Müller, Anna", 4, None), ""),
            twin.StudyInstanceUID: (UNTOUCHED, ""),
        }
        assert [(c.by, c.field, c.old, c.new, c.reason) for c in history] == [
            ("joe", "physician_name", "", "Müller, Anna", ""),
            ("joe", "physician_name", "Dr. Jane Smith", "", ""),
            ("jane", "physician_name", "", "Dr. Jane Smith", ""),
            ("jane", "exam_status", "pending", "completed", "read"),
        ]
        async with database.acquire() as db:
            rows = await db.fetch("SELECT * FROM api.examination")
            rows += await db.fetch("SELECT * FROM api.examination_change")
    assert not any(b"Jane" in value for row in rows for value in row if isinstance(value, bytes))


async def test_two_who_change_the_same_studies_do_not_stop_each_other(api: Api) -> None:
    data_sets = [a_data_set() for _ in range(20)]
    await api.seed.add(*data_sets)
    names = [one.StudyInstanceUID for one in data_sets]
    exams = Examinations(api.seed.keys, api.seed.blind)
    url = role_url(api.services.superuser_url, "darkroom_api")

    async with open_database(url, service="test") as database:

        async def change(order: list[str], name: str) -> None:
            async with database.transaction() as db:
                await exams.assign(db, order, name, by="x")
                await exams.set_status(db, order, "in_progress", by="x", reason="")

        await asyncio.gather(*(change(names[::step], str(step)) for step in (1, -1, 1, -1)))
        async with database.acquire() as db:
            found = [exam for exam, _ in (await exams.shown(db, names)).values()]
    assert len({one.physician_name for one in found}) == 1
    assert {one.version for one in found} <= {2, 3, 4, 5}


async def test_an_accession_number_is_found_in_any_case_and_width(api: Api) -> None:
    study = a_data_set(AccessionNumber="AB-1")
    await api.seed.add(study, a_data_set(AccessionNumber="AB-10"))
    url = role_url(api.services.superuser_url, "darkroom_api")
    async with open_database(url, service="test") as database, database.acquire() as db:
        for asked in ("AB-1", "ab-1", "\uff21\uff22-1", " AB-1 "):
            found = await studies_named(db, api.seed.keys, api.seed.blind, [asked, "AB"])
            assert [one.study_instance_uid for one in found[asked]] == [study.StudyInstanceUID]
            assert found["AB"] == []


async def test_what_is_written_just_so_is_meant_and_many_hide_none(api: Api) -> None:
    low, high = a_data_set(AccessionNumber="a1"), a_data_set(AccessionNumber="A1")
    crowd = [a_data_set(AccessionNumber="0") for _ in range(70)]
    late = a_data_set(AccessionNumber="LATE")
    await api.seed.add_headers([low, high, *crowd, late])
    url = role_url(api.services.superuser_url, "darkroom_api")
    async with open_database(url, service="test") as database, database.acquire() as db:
        found = await studies_named(db, api.seed.keys, api.seed.blind, ["0", "A1", "LATE"])
    assert len(found["0"]) == 20  # as many as are looked at of one name
    assert [one.study_instance_uid for one in found["A1"]] == [high.StudyInstanceUID]
    assert [one.study_instance_uid for one in found["LATE"]] == [late.StudyInstanceUID]
