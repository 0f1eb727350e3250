"""`python -m darkroom_local.stack.migrating [pre | post]`: brings every schema up to date.

It does what `python -m darkroom_<name> migrate` does for each service, in one process that imports
none of them: six services take longer to import than to migrate.
"""

import asyncio
import sys

from darkroom_common.errors import DarkroomError
from darkroom_common.output import complain
from darkroom_common.postgres.migrate import migrate
from darkroom_common.settings import MigrationSettings
from darkroom_common.telemetry.logs import configure_logs, get_logger
from darkroom_local.stack.layout import SCHEMAS

log = get_logger(__name__)


async def _migrate(url: str, phase: str) -> None:
    for name, schema in SCHEMAS.items():
        done = await migrate(url, schema=schema, package=f"darkroom_{name}", phase=phase)
        log.info("migration.finished", schema=schema, applied=len(done))


def main() -> int:
    """Run from the environment; exit code 0 when done."""
    try:
        settings = MigrationSettings.load()
        configure_logs(service="migrate", level=settings.log_level, style=settings.log_format)
        phase = (sys.argv[1:] or ["all"])[0]
        asyncio.run(_migrate(settings.migration_url.get_secret_value(), phase))
    except DarkroomError as error:
        complain(f"migration: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
