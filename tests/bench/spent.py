"""The processor time that processes have spent, by what they are, and the memory that they have."""

import os
import resource
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.support.services import is_receiving

_TICK = os.sysconf("SC_CLK_TCK")
SENDER = "storescu, ten senders"
_KNOWN = (
    ("postgres", "PostgreSQL"),  # before the services: a backend's name holds its role's
    ("ingest, receiving", "ingest, receiving"),
    ("darkroom_ingest", "ingest, relay"),
    ("darkroom_metadata", "metadata"),
    ("darkroom_api", "api"),
    ("beam.smp", "RabbitMQ"),
    ("Orthanc", "Orthanc"),
)


def spent() -> Counter[tuple[int, str]]:
    """Return seconds by (process, what it is), and those of all senders that have ended.

    Only of what this process has started: others may work on the machine.
    """
    found: Counter[tuple[int, str]] = Counter()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    found[0, SENDER] = ended.ru_utime + ended.ru_stime  # type: ignore[assignment]
    for pid in family(os.getpid()):
        directory = Path("/proc", str(pid))
        try:
            name = directory.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
            if is_receiving(directory):
                name = "ingest, receiving"
            stat = directory.joinpath("stat").read_text().rpartition(") ")[2].split()
        except (OSError, UnicodeDecodeError):
            continue  # it has ended meanwhile
        for part, kind in _KNOWN:
            if part in name:
                seconds = (int(stat[11]) + int(stat[12])) / _TICK
                found[pid, kind] = seconds  # type: ignore[assignment]
                break
    return found


def of_tree(root: int) -> float:
    """Return the seconds that a process and what it has started have spent until now.

    Those of children that have ended count when their parent has waited for them.
    """
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            stat = directory.joinpath("stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        parents[int(directory.name)] = int(stat[1])
        seconds[int(directory.name)] = sum(map(int, stat[11:15])) / _TICK
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(seconds.get(pid, 0.0) for pid in family)


def of_process(pid: int) -> float:
    """Return the seconds that a process has spent until now, without its children."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(stat[11]) + int(stat[12])) / _TICK


def since(before: Counter[tuple[int, str]]) -> dict[str, float]:
    """Return the seconds that were spent since, by kind."""
    total: dict[str, float] = {}
    for (pid, kind), seconds in spent().items():
        total[kind] = total.get(kind, 0.0) + seconds - before[pid, kind]
    return total


def memory(pids: Sequence[int]) -> float:
    """Return the MB of some processes; of what several share each has its part (PSS)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def family(pid: int) -> list[int]:
    """Return a process and all that are below it, whichever of its threads has started them."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = " ".join(task.joinpath("children").read_text() for task in tasks).split()
    except OSError:
        return [pid]  # it ends just now
    return [pid, *(one for child in children for one in family(int(child)))]
