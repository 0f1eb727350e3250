"""Proves that a backup can be restored: does it aside, compares, and says how long it took."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from darkroom_common.clock import monotonic, utc_now
from darkroom_local.recovery.archive import Archive
from darkroom_local.recovery.backup import Progress
from darkroom_local.recovery.point import Reached, rebuilt_at
from darkroom_local.recovery.restore import Compared, rebuilt
from darkroom_local.recovery.wal import WalArchive

_SHORT: Final = 90
"""Up to so many a time is said in seconds, or in minutes."""


@dataclass(frozen=True)
class Drill:
    """The result of a drill, as it is kept.

    Attributes:
        at: when (ISO 8601).
        generation: that was restored.
        agrees: whether database and objects did.
        rpo_seconds: what would have been lost: the time since the dump.
        rto_seconds: how long restoring and comparing took.
        newest: when the newest image in it was received (ISO 8601).
        objects, missing, damaged: how many.
    """

    at: str
    generation: str
    agrees: bool
    rpo_seconds: float
    rto_seconds: float
    newest: str | None
    objects: int
    missing: int
    damaged: int

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Return the last one of a data directory."""
        try:
            return cls(**json.loads(_record(data).read_text()))
        except FileNotFoundError:
            return None

    def write(self, data: Path) -> None:
        """Keep it for `darkroom status`."""
        draft = _record(data).with_suffix(".new")
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.replace(_record(data))

    def __str__(self) -> str:
        """Say it in a line."""
        verdict = "database and objects agreed" if self.agrees else "DISAGREED"
        return (
            f"drill of {self.at[:16]}: {verdict}, RPO {spoken(self.rpo_seconds)}, "
            f"RTO {spoken(self.rto_seconds)}, {self.objects} objects of {self.generation}"
        )


def spoken(seconds: float) -> str:
    """Return a time in the unit in which it says something: 4.6 s, 12 min, 23.5 h."""
    if seconds < _SHORT:
        return f"{seconds:.1f} s"
    if seconds < 60 * _SHORT:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def drill(
    archive: Archive, data: Path, secrets: Path, scratch: Path, *, progress: Progress
) -> tuple[Drill, Compared]:
    """Restore the newest generation into `scratch`, compare, and leave nothing but the result.

    Raises:
        RecoveryError, KeysLostError, Unsealable, StartError: as `restore`.
    """
    name = archive.newest()
    began, now = monotonic(), utc_now()
    with rebuilt(archive, name, scratch / "darkroom-drill", secrets, progress=progress) as (
        _,
        seen,
    ):
        seconds = monotonic() - began
    taken = datetime.fromtimestamp(seen.head.taken, UTC)
    lost = (now - taken).total_seconds()
    return _recorded(Reached(seen, lost, seconds), now, data), seen


def is_shipped(archive: Archive) -> bool:
    """Tell whether what `darkroom ship` has sent is newer than the newest backup."""
    mark, generations = WalArchive(archive).mark(), archive.generations()
    if mark is None:
        return False
    return not generations or archive.head(generations[-1]).taken < mark


def drill_shipped(
    archive: Archive, data: Path, secrets: Path, scratch: Path, *, progress: Progress
) -> tuple[Drill, Compared]:
    """Restore the newest of what `darkroom ship` has sent, as `drill` does with a backup.

    Raises:
        RecoveryError, KeysLostError, Unsealable, StartError: as `restore_at`.
    """
    now = utc_now()
    aside = scratch / "darkroom-drill"
    with rebuilt_at(archive, None, aside, secrets, progress=progress) as (_, was):
        pass
    return _recorded(was, now, data), was.compared


def _recorded(was: Reached, now: datetime, data: Path) -> Drill:
    seen = was.compared
    result = Drill(
        at=now.isoformat(),
        generation=seen.head.name,
        agrees=seen.agrees,
        rpo_seconds=was.lost_seconds,
        rto_seconds=was.seconds,
        newest=seen.head.newest,
        objects=seen.objects,
        missing=len(seen.missing),
        damaged=len(seen.damaged),
    )
    result.write(data)
    return result


def _record(data: Path) -> Path:
    return data / "drill.json"
