"""Keeps a site that was lost from coming back as if nothing had been (STO-09).

Whoever takes a site's place leaves a fence where both can see it. A site that has sent there
remembers how many fences there were: when there are more, it neither sends nor starts, until
somebody says by a command that it is the one to work with again.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from darkroom_common.clock import utc_now
from darkroom_common.errors import DarkroomError
from darkroom_local.recovery.archive import Archive, RecoveryError
from darkroom_local.stack.layout import Layout

FENCES: Final = "fences"
_WHEN: Final = "%Y%m%dT%H%M%S.%fZ"
_RECORD: Final = "shipped-to.json"


class Fenced(RecoveryError):
    """Another site has taken the place of this one.

    Args:
        since: when, as the fence is called.
    """

    def __init__(self, since: str) -> None:
        super().__init__(
            f"another site has taken the place of this one at {since}: follow it with `darkroom"
            " standby` in an empty directory, or say `darkroom take-back` to work with this one"
        )
        self.since = datetime.strptime(since, _WHEN).replace(tzinfo=UTC)


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
    name = f"{FENCES}/{utc_now().strftime(_WHEN)}"
    archive.store.put_now(name, [b"\n"])


def require_unfenced(archive: Archive, sent: Sent) -> None:
    """See that nobody has taken the place.

    Raises:
        Fenced: somebody has; the text says when, and what can be done.
        StoreUnavailable: the place is away.
    """
    names = sorted(archive.keys_below(f"{FENCES}/"))
    if len(names) > sent.fences:
        raise Fenced(names[-1].partition("/")[2])


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
    Layout(data).fenced.unlink(missing_ok=True)
    return sent


def would_take_back(archive: Archive, data: Path) -> str:
    """Say what `take_back` would come to; nothing is changed."""
    sent = Sent.read(data)
    try:
        require_unfenced(archive, sent or Sent("", "", 0))
    except Fenced as fault:
        since = f"since {fault.since:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"another site works in the place of this one {since}: what was done there is not here"
        )
    return "no other site works in the place of this one: nothing would be changed"


@contextmanager
def telling_services(data: Path) -> Iterator[None]:
    """Have the services that run in a directory know of a fence that is seen meanwhile.

    Raises:
        Fenced: as it was seen.
    """
    try:
        yield
    except Fenced as fault:
        file = Layout(data).fenced
        draft = file.with_name(f"{file.name}.new")
        draft.write_text(json.dumps({"since": fault.since.isoformat()}))
        draft.replace(file)
        raise


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
        Layout(data).fenced.unlink(missing_ok=True)
    except Fenced:
        raise
    except (DarkroomError, OSError) as error:
        tell(f"whether another site has taken the place of this one is not known: {error}")
