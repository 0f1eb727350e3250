"""What the host does, from /proc: processors, memory, disks, network.

One service of a host looks, the one with the volumes (ingest): what all of them told would be the
same numbers six times. On Kubernetes node-exporter tells more; both may be there.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from darkroom_common.telemetry.metrics import ingest as metrics

_SECTOR: Final = 512  # of /proc/diskstats, whatever the disk has
_OF_A_PART: Final = re.compile(r"(loop|ram|zram|dm-|md|sr)|(sd|vd|xvd|hd)[a-z]+\d+$|.*p\d+$")
"""What is not a disk, or is counted as a part of one."""
_MODES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_COUNTERS: Final = {
    "cpu": metrics.HOST_CPU,
    "disk": metrics.HOST_DISK,
    "network": metrics.HOST_NETWORK,
}
_AS: Final = {"nice": "user", "irq": "system", "softirq": "system"}


@dataclass
class Host:
    """Looks at the host; counters begin with what it has counted since it was started.

    Attributes:
        proc: where the kernel tells.
    """

    proc: Path = Path("/proc")
    _seen: dict[tuple[str, str], float] = field(default_factory=dict)

    def look(self) -> None:
        """Set the metrics; a kernel that does not tell something sets nothing of it."""
        metrics.HOST_CPUS.set(os.cpu_count() or 0)
        self._count("cpu", self._processors())
        for state, name in (("total", "MemTotal"), ("available", "MemAvailable")):
            if (kibibytes := self._memory().get(name)) is not None:
                metrics.HOST_MEMORY.labels(state).set(kibibytes * 1024)
        self._count("disk", self._disks())
        self._count("network", self._network())

    def _count(self, what: str, now: Mapping[str, float]) -> None:
        for word, value in now.items():
            _COUNTERS[what].labels(word).inc(max(0.0, value - self._seen.get((what, word), 0.0)))
            self._seen[what, word] = value

    def _lines(self, name: str) -> Iterator[list[str]]:
        try:
            text = (self.proc / name).read_text(encoding="ascii", errors="replace")
        except OSError:
            return
        for line in text.splitlines():
            yield line.replace(":", " ").split()

    def _processors(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for line in self._lines("stat"):
            if line[:1] == ["cpu"]:
                ticks = os.sysconf("SC_CLK_TCK")
                for mode, value in zip(_MODES, line[1:], strict=False):
                    word = _AS.get(mode, mode)
                    found[word] = found.get(word, 0.0) + int(value) / ticks
        return found

    def _memory(self) -> dict[str, int]:
        return {line[0]: int(line[1]) for line in self._lines("meminfo") if len(line) > 1}

    def _disks(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for line in self._lines("diskstats"):
            if not _OF_A_PART.match(line[2]):
                found["read"] = found.get("read", 0.0) + int(line[5]) * _SECTOR
                found["written"] = found.get("written", 0.0) + int(line[9]) * _SECTOR
        return found

    def _network(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for line in self._lines("net/dev"):
            match line:
                case [name, received, *_] if name != "lo" and received.isdigit():
                    found["received"] = found.get("received", 0.0) + int(received)
                    found["sent"] = found.get("sent", 0.0) + int(line[9])
        return found
