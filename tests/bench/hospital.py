"""A hospital's index that stays between runs: made once, used by the benches of REST.

`BENCH_STUDIES` says how many studies (100,000), `BENCH_HOSPITAL` where it is kept. It is made anew
when the number is another; migrations that have come since are applied to it.
"""

import asyncio
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from darkroom_local.engines.postgres import PrivatePostgres
from tests.bench.studies import fill
from tests.support.services import WITH_SCHEMA, Services, prepare_database

STUDIES: Final = int(os.environ.get("BENCH_STUDIES", "100000"))
DIRECTORY: Final = Path(
    os.environ.get("BENCH_HOSPITAL", Path(tempfile.gettempdir()) / "darkroom-hospital")
)
SLOW_MS: Final = 100
"""Statements that take longer are logged with their plan."""
_SETTINGS: Final = {
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "maintenance_work_mem": "1GB",
    "work_mem": "16MB",
    "effective_cache_size": "8GB",
    "random_page_cost": "1.1",
    "shared_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": str(SLOW_MS),
    "auto_explain.log_parameter_max_length": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_nested_statements": "on",
}
_SLOW: Final = re.compile(
    r" (darkroom_\w+)@\w+ LOG: +duration: ([\d.]+) ms +plan:\n\s*Query Text: (.*)"
)


@asynccontextmanager
async def hospital(directory: Path, amqp_url: str) -> AsyncIterator[tuple[Services, "Slow"]]:
    """Run the hospital's PostgreSQL; yield services on it, none of which runs yet."""
    DIRECTORY.mkdir(mode=0o711, parents=True, exist_ok=True)
    made = DIRECTORY / "made.json"
    known = json.loads(made.read_text()) if made.exists() else {}
    if known.get("studies") != STUDIES:
        shutil.rmtree(DIRECTORY / "postgres", ignore_errors=True)
        made.unlink(missing_ok=True)
    postgres = PrivatePostgres(DIRECTORY / "postgres", fsync=True, settings=_SETTINGS)
    async with postgres.running():
        services = Services(directory, postgres.superuser_url(), amqp_url)
        services.extra |= {"LOG_LEVEL": "WARNING", "UNKNOWN_AE": "accept"}
        services.extra |= dict.fromkeys(("LIMIT_EXPORTS", "LIMIT_BULK"), "1000000/hour")
        await prepare_database(postgres.superuser_url(), *WITH_SCHEMA)
        if not made.exists():
            os.environ |= {f"DARKROOM_{name}": value for name, value in services.secrets.items()}
            await asyncio.to_thread(fill, postgres.superuser_url(), STUDIES)
            kept = {"secrets": services.secrets, "admin": services.admin_password}
            made.touch(mode=0o600)
            made.write_text(json.dumps({"studies": STUDIES, **kept}))
        else:
            services.secrets |= known["secrets"]
            services.admin_password = known["admin"]
        try:
            yield services, Slow(postgres.log)
        finally:
            await services.stop()


class Slow:
    """The statements of services that took longer than `SLOW_MS`, since this was made."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.forget()

    def forget(self) -> None:
        """Begin to look from here on."""
        self._from = self._log.stat().st_size if self._log.exists() else 0

    def found(self) -> list[tuple[str, float, str]]:
        """Role, milliseconds and text of each."""
        with self._log.open("rb") as file:
            file.seek(self._from)
            text = file.read().decode("utf-8", "replace")
        return [(role, float(ms), sql[:300]) for role, ms, sql in _SLOW.findall(text)]
