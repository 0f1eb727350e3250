"""Reads schema `print`: jobs, their films, and pictures of films."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from darkroom_common.jobs.kind import Row
from darkroom_common.messages.commands import PrintFilm
from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.stored import read_spec
from darkroom_common.seal import Seal
from darkroom_common.specs.films import FilmImage, FilmOrder
from darkroom_common.specs.printers import PrinterSpec

PURPOSE: Final = PrintFilm.TYPE
"""Of what orders are sealed for."""
ERRORS: Final = """
    SELECT 'print_job' AS kind, id AS error_id, updated_at AS at, reason, printer AS subject
    FROM print.job
    WHERE state IN ('FAILED', 'UNKNOWN') AND updated_at >= $1 AND updated_at < $2
"""
"""From $1 until $2, as the error report has it."""
JOBS: Final = (
    "SELECT id AS job_id, printer, layout, state, reason, warnings, requested_by, rule, copies,"
    " films, films_done, cardinality(sop_instance_uids) AS images, attempts,"
    " CASE WHEN state IN ('QUEUED', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at FROM print.job"
)
_FILMS: Final = (
    "SELECT number, state, warnings, updated_at FROM print.film WHERE job_id = $1"
    " ORDER BY number LIMIT 2000"
)

_PRINTS_OF: Final = (  # job_images
    "SELECT id AS job_id, printer, state, films, created_at, finished_at FROM print.job"
    " WHERE sop_instance_uids && $1::text[] ORDER BY created_at DESC, id LIMIT 100"
)


async def printer(db: Connection, name: str) -> PrinterSpec | None:
    """Return the printer of this name; one that this version cannot read is not enabled."""
    text = await db.fetchval("SELECT spec::text FROM print.printer WHERE name = $1", name)
    return None if text is None else read_spec(PrinterSpec, text)[0]


async def printer_known(db: Connection, name: str) -> str | None:
    """Return the id of the printer of a name, if there is one."""
    found: str | None = await db.fetchval("SELECT id FROM print.printer WHERE name = $1", name)
    return found


async def ordered(db: Connection, job_id: str) -> Row | None:
    """Return printer and order of a job, as `open_order` takes it."""
    return await db.fetchrow(
        "SELECT printer, sealed, layout, copies, sop_instance_uids FROM print.job WHERE id = $1",
        job_id,
    )


async def films(db: Connection, job_id: str) -> list[asyncpg.Record]:
    """Return the films of a job in their order."""
    return list(await db.fetch(_FILMS, job_id))


async def prints_of(db: Connection, instances: Sequence[str]) -> list[asyncpg.Record]:
    """Return the newest 100 jobs that print any of these instances, the newest first."""
    return list(await db.fetch(_PRINTS_OF, list(instances)))


async def picture(db: Connection, picture_id: str) -> asyncpg.Record | None:
    """Return the media type of a picture, and the picture sealed; it is kept for minutes."""
    return await db.fetchrow(
        "SELECT media_type, sealed FROM print.picture WHERE id = $1", picture_id
    )


def open_order(asked: Row, seal: Seal) -> FilmOrder:
    """Return the order in the row of a job.

    Raises:
        Unsealable: it was sealed under a key that is gone.
        ValueError: it makes no sense.
    """
    if asked["sealed"]:
        return FilmOrder.model_validate(seal.open(asked["sealed"], purpose=PURPOSE))
    images = tuple(FilmImage(sop_instance_uid=uid) for uid in asked["sop_instance_uids"])
    return FilmOrder(layout=asked["layout"], copies=asked["copies"], images=images)
