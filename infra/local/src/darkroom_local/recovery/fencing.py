"""Keeps a site that was lost from coming back as if nothing had been (STO-09).

Whoever takes a site's place leaves a fence where both can see it. A site that has sent there
remembers how many fences there were: when there are more, it neither sends nor starts, until
somebody says by a command that it is the one to work with again.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from darkroom_common.clock import utc_now
from darkroom_common.errors import DarkroomError
from darkroom_local.recovery.archive import Archive, RecoveryError

FENCES: Final = "fences"
_RECORD: Final = "shipped-to.json"


class Fenced(RecoveryError):
    """Another site has taken the place of this one."""


@dataclass(frozen=True)
class Sent:
    """Where a data directory is sent to.

    Attributes:
        place: of the archive.
        key_file: what it is sealed with.
        fences: that were there when this site was the one to work with.
    """

    place: str
    key_file: str
    fences: int

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Return what is known of a data directory; None: it was never sent."""
        try:
            return cls(**json.loads((data / _RECORD).read_text()))
        except FileNotFoundError:
            return None

    def write(self, data: Path) -> None:
        """Keep it."""
        draft = data / f"{_RECORD}.new"
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(data / _RECORD)


def raise_fence(archive: Archive) -> None:
    """Say that another site works in the place of whoever has sent to this archive."""
    name = f"{FENCES}/{utc_now():%Y%m%dT%H%M%S.%fZ}"
    archive.store.put_now(name, [b"\n"])


def require_unfenced(archive: Archive, sent: Sent) -> None:
    """See that nobody has taken the place.

    Raises:
        Fenced: somebody has; the text says when, and what can be done.
        StoreUnavailable: the place is away.
    """
    names = sorted(archive.keys_below(f"{FENCES}/"))
    if len(names) > sent.fences:
        since = names[-1].partition("/")[2]
        raise Fenced(
            f"another site has taken the place of this one at {since}: follow it with `darkroom"
            " standby` in an empty directory, or say `darkroom take-back` to work with this one"
        )


def begin_sending(archive: Archive, data: Path, place: str, key_file: Path) -> Sent:
    """Return what is known of where this directory is sent to; the first time it is kept.

    Raises:
        Fenced: as `require_unfenced`.
    """
    sent = Sent.read(data)
    if sent is None or sent.place != place:
        return take_back(archive, data, place, key_file)
    require_unfenced(archive, sent)
    return sent


def take_back(archive: Archive, data: Path, place: str, key_file: Path) -> Sent:
    """Keep that this site is the one to work with, whatever fences there are."""
    fences = len(archive.keys_below(f"{FENCES}/"))
    sent = Sent(place, str(key_file.absolute()), fences)
    sent.write(data)
    return sent


def may_start(data: Path, tell: Callable[[str], None]) -> None:
    """See that nobody has taken the place of a directory that is about to start.

    Where that cannot be known it is told, and the site starts: the place may be lost with the other
    site.

    Raises:
        Fenced: somebody has.
    """
    sent = Sent.read(data)
    if sent is None:
        return
    try:
        require_unfenced(Archive.open(sent.place, Path(sent.key_file)), sent)
    except Fenced:
        raise
    except (DarkroomError, OSError) as error:
        tell(f"whether another site has taken the place of this one is not known: {error}")
