"""`python -m darkroom_api conformance`: the conformance statement of what runs.

Exit code 0: done; 2: it could not be done.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from darkroom_api.app import described
from darkroom_api.conformance import pages
from darkroom_api.conformance.exchange import StatementTask
from darkroom_api.conformance.identity import identity
from darkroom_api.conformance.own import stated
from darkroom_api.conformance.routes import ENDINGS
from darkroom_api.conformance.statement import Statement, kept, statement
from darkroom_api.settings import ApiSettings
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.errors import DarkroomError
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.pool import open_database
from darkroom_common.uids import Uids

_PACKAGE: Final = "darkroom-api"
_MAKER: Final = "darkroom_api.conformance.made"


class NotWritten(DarkroomError):
    """The file cannot be written; the text says why."""


async def conformance(settings: ApiSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments)
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="api-conformance", size=1) as database:
        await require_compatible(database, schema="api", package="darkroom_api")
        async with database.acquire() as db:
            others = await kept(db)
    found = statement(version(_PACKAGE), stated(settings, described().routes), others)
    made = await _made(found, given.format, settings)
    if given.output is None:
        sys.stdout.buffer.write(made)
        sys.stdout.buffer.flush()
        return 0
    try:
        given.output.write_bytes(made)
    except OSError as error:
        raise NotWritten(f"{given.output}: {error.strerror}") from error
    return 0


async def _made(found: Statement, form: str, settings: ApiSettings) -> bytes:
    match form:
        case "json":
            return json.dumps(found.to_json(), indent=1).encode() + b"\n"
        case "markdown":
            return pages.markdown(found).encode()
        case "html":
            return pages.html(found).encode()
    attributes = {}
    if form == "dicom":
        uids = Uids(settings.uid_root or "", SYSTEM_CLOCK)
        attributes = identity(uids, SYSTEM_CLOCK.now().astimezone())
    return await _printed(StatementTask(found.to_json(), attributes))


async def _printed(task: StatementTask) -> bytes:
    """Have a process make a document: the service itself never loads what that takes.

    Raises:
        NotWritten: it could not.
    """
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", _MAKER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    written, _ = await made.communicate(TypeAdapter(StatementTask).dump_json(task))
    if made.returncode:
        raise NotWritten("the document could not be made")
    return written


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom conformance",
        description="The DICOM conformance statement of what runs; each line names its test.",
    )
    parser.add_argument("--format", choices=sorted(ENDINGS), default="markdown")
    parser.add_argument("--output", type=Path, metavar="FILE", help="without: standard output")
    return parser
