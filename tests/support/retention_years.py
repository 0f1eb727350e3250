"""An archive of twelve years and nights of retention in simulated time, with what is to come of it.

Each study is made of its number alone, by SQL; what becomes of it is reckoned here from the same
number, without the code of the rules. A day passes by moving what was written back by a day.
"""

import calendar
import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import RemoveStudy
from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.specs.retention import Retention, RetentionRule
from darkroom_metadata.removal.intake import RemovalCommands
from darkroom_metadata.retention.runs import NewRun, Runs, add

FIRST: Final = dt.date(2015, 1, 1)
DAYS: Final = 4383
GRACE: Final = 30
BEGINS: Final = FIRST + dt.timedelta(DAYS - 365)
"""The first of the nights: the archive has eleven years behind it."""
RULES: Final = Retention(
    20,
    (
        RetentionRule(age_below=18, from_age=18, years=10),
        RetentionRule(description="*screening*", years=30),
        RetentionRule(exam_status="cancelled", years=1),
        RetentionRule(modality="US", years=7),
        RetentionRule(calling_ae_title="AE6", modality="XA", years=8),
    ),
)
KINDS: Final = ["CT"] * 6 + ["CR"] * 5 + ["MR"] * 4 + ["US"] * 3 + ["MG", "XA"]
HELD_PATIENTS, LATER_HELD, OF, HELD_STUDY = 5, 6, 97, 7
LATER_NIGHT, ENDED_NIGHT, RESTORED_NIGHT = 100, 200, 150
_PATIENTS: Final = """
    INSERT INTO index.patient (patient_key, phi, phi_key)
    SELECT int8send(p), ''::bytea, 1 FROM generate_series(0, $1::bigint - 1) AS p
"""
_CANCELLED: Final = """
    INSERT INTO api.examination (study_instance_uid, exam_status)
    SELECT '2.25.' || n, 'cancelled' FROM numbers WHERE n % 25 = 3
"""
_STUDIES: Final = """
    INSERT INTO index.study (patient_id, study_instance_uid, study_date, modalities,
        calling_ae_titles, status, phi, phi_key)
    SELECT p.id, '2.25.' || n, $2::date + (n * 7919 % $3)::int, ARRAY[($4::text[])[n % 20 + 1]],
        ARRAY['AE' || n % 7], 'complete', pgp_sym_encrypt(jsonb_build_object('j',
            jsonb_build_object('00081030', jsonb_build_object('vr', 'LO', 'Value',
                jsonb_build_array(CASE WHEN n % 40 = 1 THEN 'Lung Screening' ELSE 'CT' END)))
            || CASE WHEN n % $1 % 50 = 0 THEN '{}' ELSE jsonb_build_object('00100030',
                jsonb_build_object('vr', 'DA', 'Value', jsonb_build_array(to_char(make_date(
                    (1930 + n % $1 % 85)::int, (1 + n % $1 % 12)::int, (1 + n % $1 % 28)::int),
                    'YYYYMMDD')))) END)::text, $5, $6), 1
    FROM numbers JOIN index.patient p ON p.patient_key = int8send(n % $1)
    WHERE n BETWEEN $7 AND $8
"""
AT_ONCE: Final = 5000
"""Studies in one transaction: each is locked by its name."""
_HOLD: Final = """
    INSERT INTO api.patient_hold (id, patient_key, by, owner, sealed)
    SELECT $2::text || p, int8send(p), 'x', 'x', '' FROM generate_series(0, $1::bigint - 1) AS p
    WHERE p % $3 = $4
"""
_HOLD_STUDIES: Final = """
    INSERT INTO api.legal_hold (study_instance_uid, by, sealed, owner)
    SELECT '2.25.' || n, 'x', '', 'x' FROM numbers WHERE n % 101 = $1
"""
_DAY_PASSES: Final = """
    UPDATE index.removal SET purge_after = purge_after - interval '1 day',
        restored_at = restored_at - interval '1 day' WHERE purged_at IS NULL
"""


def years(count: float) -> dt.timedelta:
    return dt.timedelta(days=round(count * 365.25))


def birthday(born: dt.date, age: int) -> dt.date:
    leap = (born.month, born.day) == (2, 29) and not calendar.isleap(born.year + age)
    return dt.date(born.year + age, 3 if leap else born.month, 1 if leap else born.day)


@dataclass(frozen=True)
class Study:
    """What is reckoned of one study by its number."""

    number: int
    patient: int

    @property
    def uid(self) -> str:
        return f"2.25.{self.number}"

    @property
    def due(self) -> dt.date:
        """The first day on which it may go."""
        n = self.number
        day = FIRST + dt.timedelta(n * 7919 % DAYS)
        adult = self._as_of_an_adult(day)
        if self.patient % 50 == 0:  # nobody knows whether it is of a minor
            return max(adult, birthday(day, 18) + years(10))
        p = self.patient
        of_age = birthday(dt.date(1930 + p % 85, 1 + p % 12, 1 + p % 28), 18)
        return max(day, of_age) + years(10) if day < of_age else adult

    def _as_of_an_adult(self, day: dt.date) -> dt.date:
        n, kind = self.number, KINDS[self.number % 20]
        if n % 40 == 1:
            return day + years(30)
        if n % 25 == 3:
            return day + years(1)
        if kind == "US":
            return day + years(7)
        return day + years(8 if kind == "XA" and n % 7 == 6 else 20)

    def is_held(self, night: int) -> bool:
        mine = self.patient % OF
        return (
            self.number % 101 == HELD_STUDY
            or (mine == HELD_PATIENTS and night < ENDED_NIGHT)
            or (mine == LATER_HELD and night >= LATER_NIGHT)
        )

    def fate(self, nights: int) -> tuple[str, int, int]:
        """What it is after so many nights, and how often it was marked and purged."""
        state, since, marked, purged, restored = "there", 0, 0, 0, -GRACE - 1
        first = max(0, (self.due - BEGINS).days)
        for night in range(first, nights):
            held = self.is_held(night)
            if night == RESTORED_NIGHT and state == "deleted" and self.number % 11 == 0:
                state, restored = "there", night
            if state == "deleted" and night >= since + GRACE and not held:
                return "purged", marked, 1
            if state == "there" and not held and night >= restored + GRACE:
                state, since, marked = "deleted", night, marked + 1
        return state, marked, purged


@dataclass
class Archive:
    """The archive, and what has become of it night by night."""

    admin: asyncpg.Connection
    keys: PhiKeys
    runs: Runs
    commands: RemovalCommands
    studies: dict[str, Study] = field(default_factory=dict)
    patients: int = 0
    night: int = 0
    marked: Counter[str] = field(default_factory=Counter)
    judges_each: int = 1

    def now(self) -> dt.datetime:
        """The simulated time: the clock of runs and removals."""
        day = BEGINS + dt.timedelta(self.night)
        return dt.datetime(day.year, day.month, day.day, 3, tzinfo=dt.UTC)

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic()

    async def fill(self, count: int) -> None:
        """Fill an empty index with so many studies; the nights before have done their work."""
        self.patients, number = max(1, count // 5), 0
        while len(self.studies) < count:
            one = Study(number, number % self.patients)
            if one.due >= BEGINS:
                self.studies[one.uid] = one
            number += 1
        db = self.admin
        await db.execute("CREATE TEMPORARY TABLE numbers (n bigint)")
        rows = [(one.number,) for one in self.studies.values()]
        await db.copy_records_to_table("numbers", records=rows)
        await db.execute("CREATE INDEX ON numbers (n)")
        await db.execute("ANALYZE numbers")
        await db.execute(_PATIENTS, self.patients)
        await db.execute(_CANCELLED)
        key = self.keys.current_key
        given = (self.patients, FIRST, DAYS, KINDS, key, PGP_OPTIONS)
        for start in range(0, count, AT_ONCE):
            some = rows[start : start + AT_ONCE]
            await db.execute(_STUDIES, *given, some[0][0], some[-1][0])
        await db.execute(_HOLD_STUDIES, HELD_STUDY)
        await self._hold("first", HELD_PATIENTS)
        await db.execute("ANALYZE")

    async def _hold(self, name: str, rest: int) -> None:
        await self.admin.execute(_HOLD, self.patients, name, OF, rest)

    async def passes(self) -> None:
        """Have the next night pass: what people do, then what is purged, then what is marked."""
        if self.night:
            await self.admin.execute(_DAY_PASSES)
        if self.night == LATER_NIGHT:
            await self._hold("later", LATER_HELD)
        if self.night == ENDED_NIGHT:
            await self.admin.execute("DELETE FROM api.patient_hold WHERE id LIKE 'first%'")
        if self.night == RESTORED_NIGHT:
            await self._restore()
        while await self.runs.remover.purge_one():
            pass
        await self._mark()
        self.night += 1

    async def _restore(self) -> None:
        rows = await self.admin.fetch(
            "SELECT study_instance_uid FROM index.removal WHERE purged_at IS NULL"
            " AND restored_at IS NULL AND action = 'delete'"
        )
        remover = self.runs.remover
        for uid in (row[0] for row in rows):
            if self.studies[uid].number % 11 == 0:
                asked = RemoveStudy(
                    job_id=new_message_id(), action="restore", study_instance_uid=uid
                )
                await self.commands.handle(asked)
        while (attempt := await remover.claims.claim()) is not None:
            await remover.claims.finish(attempt, await remover.attempt(attempt))

    async def _mark(self) -> None:
        day, job = self.now().date(), new_message_id()
        claims = self.runs.claims
        async with self.runs.database.transaction() as db:
            await add(db, claims.table, NewRun(job, "mark", day, RULES.digest))
        if self.night % self.judges_each:  # nothing has changed that rules look at
            await self.admin.execute("UPDATE index.retention_run SET judged_to = 2^62")
        while (attempt := await claims.claim()) is not None:
            await claims.finish(attempt, await self.runs.attempt(attempt))
        (row,) = await self.admin.fetch("SELECT * FROM index.retention_run WHERE id = $1", job)
        assert row["state"] == "DONE", row["reason"]
        self.marked["marked"] += row["marked"]
        self.marked["held"] += row["held"]

    async def states(self) -> dict[str, tuple[str, int, int]]:
        """What each study is, and how often it was marked and purged."""
        there = {
            row["study_instance_uid"]: "deleted" if row["status"] == "deleted" else "there"
            for row in await self.admin.fetch("SELECT study_instance_uid, status FROM index.study")
        }
        removed: Any = await self.admin.fetch(
            "SELECT study_instance_uid AS uid, count(*) AS marked, count(purged_at) AS purged"
            " FROM index.removal WHERE action = 'delete' GROUP BY 1"
        )
        counted = {row["uid"]: (row["marked"], row["purged"]) for row in removed}
        return {uid: (there.get(uid, "purged"), *counted.get(uid, (0, 0))) for uid in self.studies}

    def expected(self) -> dict[str, tuple[str, int, int]]:
        """What each study is to be."""
        return {uid: one.fate(self.night) for uid, one in self.studies.items()}
