"""`python -m darkroom_metadata reindex`: an operator has stored objects read again.

Without options those studies are read that have an object in big endian or deflated form, which an
earlier release has indexed with one attribute. A run that was interrupted, in whatever way, goes on
behind the last study that was done when the same is asked for again.

Exit code 0: all is up to date; 1: objects are missing, their rows are as they were; 2: it could not
run, or not to its end.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import asyncpg

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.errors import ConfigurationError, DependencyUnavailable
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import (
    CLASH_ATTEMPTS,
    Connection,
    Database,
    is_clash,
    open_database,
)
from darkroom_metadata.indexing.reading import open_reading
from darkroom_metadata.reindexing.run import Run, Scope
from darkroom_metadata.reindexing.study import Progress, StudyReindexer
from darkroom_metadata.settings import MetadataSettings
from darkroom_metadata.verification.judgement import Pace
from darkroom_metadata.verification.verification import Brake, require_store

DEFAULT_PACE: Final = 200
"""Objects a second: receiving goes on beside it."""
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Reindexing:
    """Goes through the studies of a scope."""

    database: Database
    studies: StudyReindexer
    tell: Tell

    async def run(self, scope: Scope) -> Run:
        """Read all studies of a scope again; return what was done, by earlier attempts, too.

        Raises:
            Busy: another run is at work.
            DependencyUnavailable: the database or the store is away; ask for the same to go on.
            ConfigurationError: rows are encrypted under keys that are not known.
        """
        await require_store(self.studies.reading.store)
        try:
            return await self._run(scope)
        except asyncpg.ExternalRoutineInvocationError as error:
            raise ConfigurationError("a row cannot be decrypted with PHI_KEYS") from error

    async def _run(self, scope: Scope) -> Run:
        async with self.database.session() as db:
            run = await Run.begin(db, scope)
            studies, instances = await run.left(db, scope)
            left = {"studies_left": studies, "instances_left": instances}
            self.tell({"event": "started", "scope": scope.name} | _numbers(run) | left)
            while (study := await run.next(db, scope)) is not None:
                run = await self._study(db, run, study)
                self.tell({"event": "progress"} | _numbers(run))
            run = await run.end(db)
        self.tell({"event": "summary"} | _numbers(run))
        return run

    async def _study(self, db: Connection, run: Run, study: Progress) -> Run:
        """Do one study, again when another writer was in the way."""
        for _ in range(CLASH_ATTEMPTS):
            done = Progress(study.id, study.uid)
            try:
                await self.studies.read(done)
                if done.missing:
                    await require_store(self.studies.reading.store)
                async with db.transaction():
                    await self.studies.finish(db, done)
                    saved = await run.save(db, done)
            except Exception as error:
                if not is_clash(error):
                    raise
                continue
            for key in done.missing:
                self.tell({"event": "missing", "object_key": key})
            return saved
        raise DependencyUnavailable("the index is too busy: lost against other writers each time")


def _numbers(run: Run) -> dict[str, int]:
    return {name: n for name, n in asdict(run).items() if name not in ("id", "cursor")}


async def reindex(settings: MetadataSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not run to its end.
    """
    parser = argparse.ArgumentParser(prog="python -m darkroom_metadata reindex")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--study", metavar="UID", help="this study alone")
    which.add_argument("--all", action="store_true", help="every study")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--objects-per-second", type=int, default=DEFAULT_PACE, metavar="N", help="0 is no limit"
    )
    given = parser.parse_args(arguments)
    url = settings.postgres_url.get_secret_value()
    async with (
        open_database(url, service="metadata-reindex", size=3) as database,
        open_reading(settings) as reading,
    ):
        await require_compatible(database, schema="index", package="darkroom_metadata")
        keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
        brake = Brake(Pace(given.objects_per_second), SYSTEM_CLOCK)
        studies = StudyReindexer(database, reading, keys, brake)
        tell = _as_json if given.json else _as_text
        run = await Reindexing(database, studies, tell).run(Scope(given.study, given.all))
    return 1 if run.skipped else 0


def _as_json(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - the command's output


def _as_text(line: dict[str, Any]) -> None:
    words = " ".join(f"{name}={value}" for name, value in line.items() if name != "event")
    print(f"{line['event']} {words}", flush=True)  # noqa: T201 - the command's output
