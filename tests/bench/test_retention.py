"""A year of nights of retention over an archive of twelve years, in simulated time (STO-04).

`BENCH_ARCHIVE` says how many studies (20,000), `BENCH_NIGHTS` how many nights (365). What is to
become of each study is reckoned apart from the code that judges.
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from darkroom_local.engines.postgres import PrivatePostgres
from tests.integration.metadata.test_retention_years import archive_of, require_exact
from tests.support.services import prepare_database

STUDIES: Final = int(os.environ.get("BENCH_ARCHIVE", "20000"))
NIGHTS: Final = int(os.environ.get("BENCH_NIGHTS", "365"))
JUDGED_EACH: Final = 30
"""Nights: nothing that rules look at changes between them here."""
_SETTINGS: Final = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "maintenance_work_mem": "512MB",
    "work_mem": "64MB",
    "max_locks_per_transaction": "1024",
}


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that PostgreSQL's user reaches."""
    with tempfile.TemporaryDirectory(prefix="darkroom-years-") as made:
        directory = Path(made)
        directory.chmod(0o711)
        yield directory


async def test_a_year_of_nights_lets_go_exactly_what_the_rules_say(
    reachable: Path, tmp_path: Path
) -> None:
    postgres = PrivatePostgres(reachable / "postgres", fsync=False, settings=_SETTINGS)
    async with postgres.running():
        url = postgres.superuser_url()
        await prepare_database(url, "metadata", "api")
        async with archive_of(url, tmp_path / "objects") as archive:
            archive.judges_each = JUDGED_EACH
            began = time.perf_counter()
            await archive.fill(STUDIES)
            print(f"filled with {STUDIES:,} studies in {time.perf_counter() - began:.0f} s")
            began, longest = time.perf_counter(), 0.0
            for night in range(NIGHTS):
                at = time.perf_counter()
                await archive.passes()
                took = time.perf_counter() - at
                longest = max(longest, took)
                if night == 0:
                    print(f"the first night, which judges every study: {took:.1f} s")
            took = time.perf_counter() - began
            expected = archive.expected()
            counted = Counter(state for state, _, _ in expected.values())
            print(f"{NIGHTS} nights in {took:.0f} s, the longest {longest:.1f} s")
            print(f"{archive.marked}, reckoned: {counted}")
            require_exact(dict(expected), dict(await archive.states()))
            held = [one for one in archive.studies.values() if all(map(one.is_held, range(NIGHTS)))]
            assert not any(expected[one.uid][0] == "purged" for one in held)
            print(f"exact for each study; under hold {len(held):,}, of these purged 0")
