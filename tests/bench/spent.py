"""The processor time that processes have spent, by what they are."""

import os
import resource
from collections import Counter
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
SENDER = "storescu, ten senders"
_KNOWN = (
    ("postgres", "PostgreSQL"),  # before the services: a backend's name holds its role's
    ("darkroom_ingest.door.worker", "ingest, receiving"),
    ("darkroom_ingest", "ingest, relay"),
    ("darkroom_metadata", "metadata"),
    ("darkroom_api", "api"),
    ("beam.smp", "RabbitMQ"),
)


def spent() -> Counter[tuple[int, str]]:
    """Return seconds by (process, what it is), and those of all senders that have ended."""
    found: Counter[tuple[int, str]] = Counter()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    found[0, SENDER] = ended.ru_utime + ended.ru_stime  # type: ignore[assignment]
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            name = directory.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
            stat = directory.joinpath("stat").read_text().rpartition(") ")[2].split()
        except (OSError, UnicodeDecodeError):
            continue  # it has ended meanwhile
        for part, kind in _KNOWN:
            if part in name:
                seconds = (int(stat[11]) + int(stat[12])) / _TICK
                found[int(directory.name), kind] = seconds  # type: ignore[assignment]
                break
    return found


def since(before: Counter[tuple[int, str]]) -> dict[str, float]:
    """Return the seconds that were spent since, by kind."""
    total: dict[str, float] = {}
    for (pid, kind), seconds in spent().items():
        total[kind] = total.get(kind, 0.0) + seconds - before[pid, kind]
    return total
