"""`run/state.json`: what `darkroom up` tells `darkroom status` and `darkroom demo`."""

import json
import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from darkroom_common.settings import EVERY_INTERFACE
from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.engines.supervisor import Supervised


@dataclass(frozen=True)
class ProcessState:
    """One process as it was at the last change."""

    name: str
    pid: int | None
    state: str
    ready: bool
    reason: str
    restarts: int
    since: float  # seconds since the epoch
    log: str
    health_url: str | None


def base_url(host: str, port: int, *, tls: bool = False) -> str:
    """Return the URL under which this machine reaches what listens on an address of it."""
    near = {EVERY_INTERFACE: LOOPBACK, "::": "::1"}.get(host, host)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{near}]:{port}" if ":" in near else f"{scheme}://{near}:{port}"


def trusting(authority: str | None) -> ssl.SSLContext:
    """Return what checks a server against the system's authorities, and one in a file."""
    context = ssl.create_default_context()
    if authority is not None:
        context.load_verify_locations(authority)
    return context


@dataclass(frozen=True)
class StackState:
    """A running stack."""

    pid: int
    started: float
    ae_title: str
    dicom_port: int
    http_port: int
    processes: list[ProcessState] = field(default_factory=list)
    http_host: str = LOOPBACK
    http_tls: bool = False
    dicom_tls_port: int | None = None
    authority: str | None = None
    """File with the authority of our certificates; None without `--tls`."""

    @property
    def base_url(self) -> str:
        """The base URL of the API."""
        return base_url(self.http_host, self.http_port, tls=self.http_tls)

    @property
    def trust(self) -> ssl.SSLContext:
        """What https of ours is checked against: the system's authorities, and our own."""
        return trusting(self.authority)

    def write(self, path: Path) -> None:
        """Replace the file as a whole."""
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the state, or None when nothing has been started or it has been stopped."""
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        processes = [ProcessState(**process) for process in content.pop("processes")]
        state = cls(**content, processes=processes)
        return state if _is_up(state.pid) else None


def states(
    processes: Iterable[Supervised], logs: Mapping[str, Path], health: Mapping[str, str]
) -> list[ProcessState]:
    """Return what is known of each process."""
    return [
        ProcessState(
            name=one.name,
            pid=one.pid,
            state=one.state,
            ready=one.ready,
            reason=one.reason,
            restarts=one.restarts,
            since=one.since,
            log=str(logs[one.name]),
            health_url=health.get(one.name),
        )
        for one in processes
    ]


def memory_bytes(pid: int | None) -> int:
    """Return the memory of a process and its descendants, what they share counted once.

    0 when it is gone; of a process that is not ours to look into, its resident memory.
    """
    if pid is None:
        return 0
    total = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total = int(line.split()[1]) << 10
        except PermissionError:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            total = pages * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return total + sum(memory_bytes(int(child)) for child in children)


def _is_up(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
