"""Nights of retention: what is due is marked, what is held or restored stays, at a set rate."""

import datetime as dt
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pydantic import SecretStr

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.jobs.lease import Claims
from darkroom_common.messages.base import new_message_id
from darkroom_common.specs.retention import Retention, RetentionRule
from darkroom_metadata.retention.command import Desk, Off
from darkroom_metadata.retention.judging import Judging
from darkroom_metadata.retention.pace import NotYet, Turns
from darkroom_metadata.retention.runs import Runs, retention_jobs
from darkroom_metadata.settings import MetadataSettings
from tests.integration.metadata.test_indexer import KEYS
from tests.integration.metadata.test_removal import Archive, archive
from tests.support.builders import a_data_set
from tests.support.shown import require_shown

__all__ = ["archive"]
OLD = "20100101"
RULES = Retention(
    7,
    (
        RetentionRule(age_below=18, from_age=18, years=10),
        RetentionRule(description="*screening*", years=30),
        RetentionRule(exam_status="cancelled", years=1),
    ),
)


@dataclass
class Night:
    """A clock that tests own, and nights by it."""

    archive: Archive
    rules: Retention = RULES
    is_on: bool = True
    moment: dt.datetime = field(default_factory=SYSTEM_CLOCK.now)
    slept: list[float] = field(default_factory=list)

    def now(self) -> dt.datetime:
        return self.moment

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic()

    def runs(self) -> Runs:
        remover = self.archive.remover
        remover.retention, remover.clock = self.rules, self

        async def wait(seconds: float) -> None:
            self.slept.append(seconds)
            await self.archive.rows("UPDATE index.pace SET next_at = now()")

        claims = Claims(retention_jobs(remover.outbox), remover.database, new_message_id(), 20.0)
        judging = Judging(KEYS, self.rules)
        return Runs(claims, judging, remover, self.is_on, 0, lambda: False, self, wait)

    async def work(self, runs: Runs) -> None:
        while (attempt := await runs.claims.claim()) is not None:
            await runs.claims.finish(attempt, await runs.attempt(attempt))

    async def passes(self) -> dict[str, Any]:
        """Have the night pass; return the run that was planned for it."""
        self.moment += dt.timedelta(days=1)
        runs = self.runs()
        await runs.plan()
        await self.work(runs)
        action = "mark" if self.is_on else "plan"
        sql = "SELECT * FROM index.retention_run WHERE id = $1"
        (row,) = await self.archive.rows(sql, f"{action}-{self.moment.date()}")
        assert row["state"] == "DONE", row["reason"]
        return {name: row[name] for name in ("judged", "due", "held", "kept", "marked")}

    async def there(self) -> set[str]:
        sql = "SELECT study_instance_uid FROM index.study WHERE status <> 'deleted'"
        return {row[0] for row in await self.archive.rows(sql)}


@pytest.fixture
async def night(archive: Archive) -> Night:
    return Night(archive)


async def test_a_night_marks_what_is_due_and_nothing_else(night: Night) -> None:
    due = a_data_set(StudyDate=OLD, PatientBirthDate="19700101")
    minor = a_data_set(StudyDate=OLD, PatientBirthDate="20050101", PatientID="M")
    screening = a_data_set(StudyDate=OLD, PatientBirthDate="19700101", StudyDescription="Screening")
    new = a_data_set(StudyDate="20260101", PatientBirthDate="19700101")
    held = a_data_set(StudyDate=OLD, PatientBirthDate="19700101")
    sets = (due, minor, screening, new, held)
    await night.archive.house.received(*sets)
    everything = {one.StudyInstanceUID for one in sets}
    await night.archive.rows("UPDATE index.study SET status = 'complete'")
    await night.archive.hold(held.StudyInstanceUID)

    night.is_on = False  # a dry run says what would go, and deletes nothing
    assert await night.passes() == {"judged": 5, "due": 2, "held": 1, "kept": 0, "marked": 0}
    assert await night.there() == everything

    night.is_on = True
    assert await night.passes() == {"judged": 0, "due": 2, "held": 1, "kept": 0, "marked": 1}
    assert await night.there() == everything - {due.StudyInstanceUID}
    (row,) = await night.archive.rows("SELECT * FROM index.removal")
    assert (row["requested_by"], row["rule"]) == ("retention", "RETENTION_YEARS: 7 years")
    (told,) = await night.archive.told()
    assert (told.how, told.rule) == ("deleted", "RETENTION_YEARS: 7 years")

    # It comes back whole, and stays for as long as it could have been restored.
    assert await night.archive.ask("restore", due.StudyInstanceUID) == ("DONE", "")
    assert await night.passes() == {"judged": 1, "due": 2, "held": 1, "kept": 1, "marked": 0}
    await night.archive.rows("UPDATE index.removal SET restored_at = now() - interval '31 days'")
    assert (await night.passes())["marked"] == 1
    await night.archive.purge()
    assert night.archive.objects() == 4
    assert [one.rule for one in await night.archive.told()][-1] == "RETENTION_YEARS: 7 years"
    assert len(await night.archive.rows("SELECT FROM index.retention")) == 4


async def test_what_changes_is_judged_anew(night: Night) -> None:
    one = a_data_set(StudyDate=OLD, PatientBirthDate="19700101")
    await night.archive.house.received(one)
    await night.archive.rows("UPDATE index.study SET status = 'receiving', version = version + 1")
    assert await night.passes() == {"judged": 1, "due": 1, "held": 0, "kept": 1, "marked": 0}
    # Rules that are made longer let it come back before it is purged; by others it goes.
    await night.archive.rows("UPDATE index.study SET status = 'complete', version = version + 1")
    assert (await night.passes())["marked"] == 1
    night.rules = Retention(70)
    night.archive.remover.retention = night.rules
    await night.archive.purge()
    assert await night.there() == {one.StudyInstanceUID}
    assert night.archive.objects() == 1
    assert await night.passes() == {"judged": 1, "due": 0, "held": 0, "kept": 0, "marked": 0}


async def test_new_rules_are_planned_at_once_and_an_old_run_ends(night: Night) -> None:
    runs = night.runs()
    await runs.plan()
    night.rules = Retention(1)
    others = night.runs()
    await others.plan()
    await night.work(others)
    night.moment += dt.timedelta(days=1)
    await others.plan()
    night.is_on = False  # switched off before it has begun
    await night.work(night.runs())
    rows = await night.archive.rows(
        "SELECT action, rules, state FROM index.retention_run ORDER BY created_at, action"
    )
    assert [(row["rules"] == night.rules.digest, row["state"]) for row in rows] == [
        (False, "CANCELLED"),
        (True, "DONE"),
        (True, "CANCELLED"),
    ]


@pytest.mark.parametrize("whose", ["study", "patient", "merged", "moved"])
async def test_a_hold_of_a_patient_counts_like_one_of_the_study(night: Night, whose: str) -> None:
    one = a_data_set(StudyDate=OLD, PatientBirthDate="19700101")
    uid, rows = one.StudyInstanceUID, night.archive.rows
    await night.archive.house.received(one)
    await rows("UPDATE index.study SET status = 'complete'")
    put = "INSERT INTO api.patient_hold (id, patient_key, by, owner, sealed)"
    match whose:
        case "study":
            await night.archive.hold(uid)
        case "patient":
            await rows(put + " SELECT 'h', patient_key, 'x', 'x', '' FROM index.patient")
        case "merged":
            await rows(put + r" VALUES ('h', '\x01', 'x', 'x', '')")
            await rows(
                "INSERT INTO index.merged_patient (patient_key, target_key, sealed, by)"
                r" SELECT '\x01', patient_key, '', 'x' FROM index.patient"
            )
        case "moved":
            await rows(put + r" VALUES ('h', '\x01', 'x', 'x', '')")
            await rows("INSERT INTO api.patient_hold_study VALUES ('h', $1)", uid)
    assert (await night.passes())["held"] == 1
    state, reason = await night.archive.ask("delete", uid)
    assert (state, reason) == ("FAILED", "the study is under legal hold")
    await rows("DELETE FROM api.legal_hold")
    await rows("DELETE FROM api.patient_hold")
    assert (await night.passes())["marked"] == 1


async def test_no_more_than_so_many_are_marked_and_purged_in_a_minute(night: Night) -> None:
    sets = [a_data_set(StudyDate=OLD, PatientBirthDate="19700101") for _ in range(3)]
    await night.archive.house.received(*sets)
    await night.archive.rows("UPDATE index.study SET status = 'complete'")
    remover = night.archive.remover
    remover.marks = remover.purges = Turns("mark", 6)
    await night.archive.rows("UPDATE index.pace SET next_at = now() - interval '1 hour'")
    assert (await night.passes())["marked"] == 3
    assert len(night.slept) == 2  # before the second one and the third one
    remover.purges = replace(remover.purges, name="purge")
    await night.archive.rows(
        "UPDATE index.removal SET purge_after = now() - interval '1 s',"
        " finished_at = now() + interval '1 s'"
    )
    assert await remover.purge_one()
    with pytest.raises(NotYet) as wait:
        await remover.purge_one()
    assert 5 < wait.value.seconds <= 10
    assert night.archive.objects() == 2
    # A clock that was an hour ahead does not hold it up for an hour.
    await night.archive.rows("UPDATE index.pace SET next_at = now() + interval '1 hour'")
    assert await remover.purge_one()


async def test_the_command_says_what_goes_and_why_and_deletes_nothing(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    due = a_data_set(StudyDate=OLD, PatientBirthDate="19700101")
    minor = a_data_set(StudyDate=OLD, PatientBirthDate="20050101", PatientID="M")
    await night.archive.house.received(due, minor)
    await night.archive.hold(due.StudyInstanceUID)
    settings = MetadataSettings.model_construct(
        phi_keys=SecretStr(json.dumps({"current": 1, "keys": KEYS.keys})),
        retention_years=7.0,
        retention_rules=tuple(RULES.rules),
        retention_purge=False,
    )
    desk = Desk(settings, night.archive.remover.database, as_json=True)
    capsys.readouterr()
    assert await desk.plan(dt.date(2032, 12, 30), 10) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    rule, study, summary = lines
    assert (rule["studies"], rule["held"], rule["why"]) == (1, 1, "RETENTION_YEARS: 7 years")
    assert study["study_instance_uid"] == due.StudyInstanceUID
    assert (study["keep_until"], study["held"]) == ("2017-01-01", True)
    assert (summary["studies"], summary["held"]) == (1, 1)
    assert await desk.plan(dt.date(2033, 1, 2), 10) == 0
    assert '"rule 1: age_below 18' in capsys.readouterr().out
    with pytest.raises(Off):
        await desk.run(dry=False)
    text = replace(desk, as_json=False)
    assert await text.plan(dt.date(2032, 12, 30), 10) == 0
    said = capsys.readouterr().out
    require_shown(said, "data-life.md", "darkroom retention plan")
    assert len(await night.there()) == 2
