"""What /proc tells of the host becomes counters and gauges."""

from pathlib import Path

from darkroom_common.telemetry.host import Host
from darkroom_common.telemetry.metrics import ingest as metrics

STAT = "cpu  100 50 200 3000 40 5 5 10 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
MEMINFO = "MemTotal:       16000 kB\nMemFree:  10 kB\nMemAvailable:    4000 kB\n"
DISKS = (
    "   8       0 sda 10 0 1000 5 20 0 2000 9 0 0 0\n"
    "   8       1 sda1 10 0 1000 5 20 0 2000 9 0 0 0\n"
    " 259       0 nvme0n1 1 0 10 5 2 0 20 9 0 0 0\n"
    " 259       1 nvme0n1p1 1 0 10 5 2 0 20 9 0 0 0\n"
    "   7       0 loop0 9 0 900 5 9 0 900 9 0 0 0\n"
)
NETWORK = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n"
    "    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n"
    "  eth0: 300 1 0 0 0 0 0 0 70 1 0 0 0 0 0 0\n"
)


def value(counter: object, *labels: str) -> float:
    return float(counter.labels(*labels)._value.get())  # type: ignore[attr-defined]


def test_the_host_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    for name, text in (("stat", STAT), ("meminfo", MEMINFO), ("diskstats", DISKS)):
        (tmp_path / name).write_text(text)
    (tmp_path / "net" / "dev").write_text(NETWORK)
    of = {
        "user": metrics.HOST_CPU,
        "idle": metrics.HOST_CPU,
        "read": metrics.HOST_DISK,
        "written": metrics.HOST_DISK,
        "received": metrics.HOST_NETWORK,
        "sent": metrics.HOST_NETWORK,
    }
    before = {word: value(counter, word) for word, counter in of.items()}
    host = Host(tmp_path)
    host.look()
    host.look()  # nothing has happened since
    grown = {word: value(counter, word) - before[word] for word, counter in of.items()}
    assert round(grown["idle"] / grown["user"]) == 20  # 3000 ticks against 100 + 50 of nice
    assert grown["read"] == 1010 * 512  # two disks; a partition is counted with its disk
    assert grown["written"] == 2020 * 512
    assert grown["received"] == 300
    assert grown["sent"] == 70
    (tmp_path / "stat").write_text(STAT.replace("3000", "3100"))
    host.look()
    assert value(metrics.HOST_CPU, "idle") > before["idle"] + grown["idle"]
    assert value(metrics.HOST_MEMORY, "total") == 16000 * 1024
    assert value(metrics.HOST_MEMORY, "available") == 4000 * 1024


def test_a_kernel_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    Host(tmp_path).look()
