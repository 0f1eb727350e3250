"""`python -m darkroom_metadata retention`: what goes when and why, and a run now.

Exit code 0: done; 2: it could not be done. `plan` and `run --dry-run` delete nothing, `tiers` moves
nothing.
"""

import argparse
import asyncio
import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.errors import DarkroomError
from darkroom_common.index.retention.holds import HELD_STUDIES
from darkroom_common.index.retention.judged import BY_RULE, PLAN
from darkroom_common.messages.base import new_message_id
from darkroom_common.output import say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database, open_database, the_row
from darkroom_common.specs.retention import OTHERWISE, Retention
from darkroom_metadata.retention.judging import Judging
from darkroom_metadata.retention.runs import Action, NewRun, add, retention_jobs
from darkroom_metadata.settings import MetadataSettings
from darkroom_metadata.tiering.due import looked_at

_BY_RULE: Final = BY_RULE.format(HELD_STUDIES)
_PLAN: Final = PLAN.format(HELD_STUDIES) + " ORDER BY r.keep_until, r.study_id LIMIT $3"
_SHOW: Final = (
    "SELECT state, reason, judged, due, held, kept, marked FROM index.retention_run WHERE id = $1"
)
_LOOK_SECONDS: Final = 0.5
_OVER: Final = frozenset({"DONE", "FAILED", "CANCELLED"})


class Off(DarkroomError):
    """Nothing is deleted by the rules on this system."""


async def retention(settings: MetadataSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments)
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="metadata-retention", size=2) as database:
        await require_compatible(database, schema="index", package="darkroom_metadata")
        desk = Desk(settings, database, as_json=given.json)
        if given.word == "plan":
            return await desk.plan(given.on or SYSTEM_CLOCK.now().date(), given.limit)
        if given.word == "tiers":
            return await desk.tiers(given.on or SYSTEM_CLOCK.now().date(), given.limit)
        return await desk.run(dry=given.dry_run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="darkroom retention")
    words = parser.add_subparsers(dest="word", required=True)
    plan = words.add_parser("plan", help="what goes until a day, when and why; deletes nothing")
    tiers = words.add_parser(
        "tiers", help="what a night moves to the slow store, and why; moves nothing"
    )
    for one in (plan, tiers):
        one.add_argument("--on", type=dt.date.fromisoformat, metavar="DATE", help="default: today")
        one.add_argument(
            "--limit", type=int, default=20, metavar="N", help="studies that are named; default: 20"
        )
    run = words.add_parser("run", help="what else each night does, now")
    run.add_argument("--dry-run", action="store_true", help="judge and count, delete nothing")
    for one in (plan, tiers, run):
        one.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


@dataclass(frozen=True)
class Desk:
    """What the words of the command do."""

    settings: MetadataSettings
    database: Database
    as_json: bool

    def _tell(self, event: str, text: str, **told: Any) -> None:
        line = json.dumps({"event": event, **told}, default=str)
        say(line if self.as_json else text)

    async def plan(self, day: dt.date, limit: int) -> int:
        """Judge what has changed, and tell what may go until a day."""
        rules = self.settings.retention
        judging = Judging(PhiKeys.parse(self.settings.phi_keys.get_secret_value()), rules)
        last: int | None = 0
        while last is not None:
            async with self.database.transaction() as db:
                done = await judging.step(db, last)
            last = None if done is None else done[0]
        async with self.database.transaction() as db:
            counted = await db.fetch(_BY_RULE, day, rules.digest)
            named = await db.fetch(_PLAN, day, rules.digest, limit)
        for row in counted:
            why = rules.in_words(row["rule"])
            self._tell(
                "rule",
                f"{row['studies']} studies, {row['bytes'] / 1e9:.3f} GB, of these"
                f" {row['held']} held: {why}",
                why=why,
                **dict(row),
            )
        for row in named:
            why = rules.in_words(row["rule"])
            held = ", held: stays" if row["held"] else ""
            told = {name: row[name] for name in ("study_instance_uid", "keep_until", "held")}
            text = f"{row['keep_until']}  {row['study_instance_uid']}  {why}{held}"
            self._tell("study", text, why=why, **told)
        total, held = (sum(row[name] for row in counted) for name in ("studies", "held"))
        on = "on" if self.settings.retention_purge else "off: nothing is deleted by the rules"
        text = (
            f"until {day} {total} studies may go, {held} of them are held; RETENTION_PURGE is {on}"
        )
        self._tell("summary", text, day=day, studies=total, held=held)
        return 0

    async def tiers(self, day: dt.date, limit: int) -> int:
        """Tell what the night of a day would move to the slow store, and by which rule."""
        rules = Retention(0, self.settings.tier_rules)
        keys = PhiKeys.parse(self.settings.phi_keys.get_secret_value())
        night = dt.datetime.combine(day, dt.time(self.settings.retention_hour), dt.UTC)
        by_rule: dict[int, tuple[int, int]] = {}
        named = 0
        async for studies in looked_at(self.database, keys, rules, night):
            for one in studies:
                if one.rule is None:
                    continue
                count, size = by_rule.get(one.rule, (0, 0))
                by_rule[one.rule] = count + 1, size + one.row["byte_count"]
                if named < limit:
                    named += 1
                    why, uid = _why_moved(rules, one.rule), one.row["uid"]
                    self._tell("study", f"{uid}  {why}", study_instance_uid=uid, why=why)
        for rule, (count, size) in sorted(by_rule.items()):
            why = _why_moved(rules, rule)
            text = f"{count} studies, {size / 1e9:.3f} GB: {why}"
            self._tell("rule", text, rule=rule, studies=count, bytes=size, why=why)
        total = sum(count for count, _ in by_rule.values())
        two = " " in self.settings.store_url.strip()
        text = f"the night of {day} would move {total} studies to the slow store"
        if not two:
            text = f"STORE_URL names one store: nothing is moved; {text}"
        self._tell("summary", text, day=day, studies=total, stores=2 if two else 1)
        return 0

    async def run(self, *, dry: bool) -> int:
        """Have metadata do a run, and wait for it.

        Raises:
            Off: it would delete, and RETENTION_PURGE is off.
        """
        if not dry and not self.settings.retention_purge:
            raise Off("RETENTION_PURGE is off: nothing is deleted by the rules; see --dry-run")
        job, day = new_message_id(), SYSTEM_CLOCK.now().date()
        action: Action = "plan" if dry else "mark"
        async with self.database.transaction() as db:
            new = NewRun(job, action, day, self.settings.retention.digest)
            await add(db, retention_jobs(Outbox("index")), new)
        while True:
            async with self.database.acquire() as db:
                row = the_row(await db.fetchrow(_SHOW, job))
            if row["state"] in _OVER:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        told = dict(row)
        words = " ".join(f"{name}={value}" for name, value in told.items() if value != "")
        self._tell("run", words, job=job, **told)
        return 0 if row["state"] == "DONE" else 2


def _why_moved(rules: Retention, rule: int) -> str:
    return "recalled, and its days are over" if rule == OTHERWISE else rules.in_words(rule)
