"""`make bench-quick`: what an object costs, compared with what was landed last.

Counts do not depend on how busy the machine is, and so they are what is held closely. Processor
time does, also when it is measured against a loop of ours in the same round and the best of some
rounds counts: machines of one kind gave 0.85, 1.3 and 1.7 for the same code. It is told, and fails
only when it is four times what was landed.
"""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg

from darkroom_local.engines.postgres import PrivatePostgres
from tests.bench.senders import make_load, send
from tests.bench.spent import of_process, of_tree
from tests.support.services import Services, prepare_database
from tests.support.waiting import until

LANDED: Final = Path(__file__).with_name("landed.json")
"""What was landed last: medians of `ROUNDS` rounds. Later the best of as many may be compared, so
that a machine that is busy makes nobody fail who has changed nothing."""
KEEP: Final = bool(os.environ.get("BENCH_LANDED"))
"""Whether to write what is measured now there."""
ROUNDS: Final = 6
OBJECTS: Final = 200
ALLOWED: Final = 1.2
"""Times what was landed, of what is counted."""
ALLOWED_TIME: Final = 4.0
"""Times what was landed, of processor time."""
STATEMENTS: Final = (
    "SELECT sum(s.calls)::float8 AS statements, sum(s.wal_records)::float8 AS wal_records,"
    " sum(s.wal_bytes)::float8 AS wal_bytes FROM public.pg_stat_statements AS s"
    " JOIN pg_roles AS r ON r.oid = s.userid WHERE r.rolname = 'darkroom_metadata'"
)
_REPEATS: Final = 100
_BLOCK: Final = bytes(512 << 10)


def reference(scratch: Path) -> float:
    """Return seconds of processor time of a loop that hashes, calls and writes half a mebibyte."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        with scratch.open("wb", buffering=0) as file:
            for _ in range(_REPEATS):
                hashlib.sha256(_BLOCK).digest()
                json.loads(json.dumps({"n": list(range(500))}))
                file.seek(0)
                file.write(_BLOCK)
        best = min(best, (time.process_time() - began) / _REPEATS)
    return best


async def counts(directory: Path, superuser_url: str) -> dict[str, float]:
    """Return what is counted in a process of its own, see `counted`."""
    directory.mkdir()
    result = directory / "result.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.counted", str(directory), str(result), superuser_url),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    found: dict[str, float] = json.loads(result.read_text())
    return found


async def _is_indexed(db: asyncpg.Connection, objects: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM index.instance") >= objects)


async def measure(
    number: int, directory: Path, services: Services, db: asyncpg.Connection, postgres: int
) -> dict[str, float]:
    """Return what each of some objects costs that are received and then, together, indexed."""
    load = make_load(directory, objects=OBJECTS, associations=10, side=512)
    pids = {name: one.process.pid for name, one in services.running.items() if one.process}

    def spent() -> dict[str, float]:
        relay = of_process(pids["ingest"])
        return {
            "receiving": of_tree(pids["ingest"]) - relay,
            "relay": relay,
            "metadata": of_tree(pids["metadata"]),
            "PostgreSQL": of_tree(postgres),
        }

    loop = reference(directory / "block")
    times, written = spent(), await db.fetchrow(STATEMENTS)
    os.kill(pids["metadata"], signal.SIGSTOP)
    try:
        await send(load, services.dicom_port, best=True)
        await until(lambda: not any(services.spool.joinpath("ready").iterdir()), poll=0.01)
    finally:
        os.kill(pids["metadata"], signal.SIGCONT)
    await until(partial(_is_indexed, db, number * OBJECTS), poll=0.01)
    times = {part: seconds - times[part] for part, seconds in spent().items()}
    more = await db.fetchrow(STATEMENTS)
    loop = min(loop, reference(directory / "block"))
    await asyncio.to_thread(shutil.rmtree, directory)
    assert written
    assert more
    found = {f"index: {name}": (n - (written[name] or 0)) / OBJECTS for name, n in more.items()}
    return found | {
        f"{part}: processor time": seconds / OBJECTS / loop for part, seconds in times.items()
    }


_ONLY_TOLD: Final = frozenset({"PostgreSQL: processor time", "index: statements"})
"""What the server cleans up beside makes the first differ threefold; what metadata looks after each
second makes the other grow with the time that a slow machine takes. WAL, and the statements of a
batch by itself, are compared."""


def too_much(found: dict[str, float], landed: dict[str, float]) -> list[str]:
    """Return what costs more than it may, or was never landed."""
    held = {name: figure for name, figure in found.items() if name not in _ONLY_TOLD}
    return [name for name, figure in held.items() if figure > _allowed(name) * landed.get(name, 0)]


def _allowed(name: str) -> float:
    return ALLOWED_TIME if name.endswith(": processor time") else ALLOWED


async def test_an_object_costs_no_more_than_it_did(
    tmp_path: Path, engine_directory: Path, amqp_url: str, superuser_url: str
) -> None:
    landed: dict[str, float] = {} if KEEP else json.loads(LANDED.read_text())
    counted = await counts(tmp_path / "counted", superuser_url)
    rounds: list[dict[str, float]] = []
    server = PrivatePostgres(engine_directory / "postgres", fsync=True)
    async with server.running():
        url = server.superuser_url()
        await prepare_database(url, "metadata")
        services = Services(tmp_path / "darkroom", url, amqp_url)
        services.extra["LOG_LEVEL"] = "INFO"
        services.directory.mkdir()
        db = await asyncpg.connect(url)
        assert server.child
        try:
            await services.start("metadata", "ingest")
            for number in range(1, ROUNDS + 1):
                found = await measure(
                    number, tmp_path / f"load{number}", services, db, server.child.pid
                )
                rounds.append(found)
                best = {name: min(one[name] for one in rounds) for name in found}
                if not KEEP and not too_much(best, landed):
                    break
        finally:
            await services.stop()
            await db.close()
    if KEEP:
        landed = counted | {name: median(one[name] for one in rounds) for name in rounds[0]}
        rounded = {name: float(f"{figure:.4g}") for name, figure in sorted(landed.items())}
        LANDED.write_text(json.dumps(rounded, indent=2) + "\n")
    best |= counted
    print(f"\n{'an object, of the best of ' + str(len(rounds)) + ' rounds':44}   now  landed   x")
    for name, figure in sorted(best.items()):
        was = landed.get(name, float("nan"))
        print(f"{name:40} {figure:9.4g} {was:9.4g} {figure / was:5.2f}")
    assert too_much(best, landed) == []
