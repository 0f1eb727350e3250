"""What an archive is asked, and what it tells, whatever is spoken with it."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from darkroom_transmit.retrieval.dimse import Handle

MOST_STUDIES: Final = 2000
"""Of one answer: more is asked for in shorter times."""
AWAY: Final = frozenset(
    {
        *("ConnectionRefused", "ConnectTimeout", "HostUnknown", "HostUnreachable", "Misconfigured"),
        *("RejectedTransient", "RejectedPermanent", "TlsFailed", "BadCertificate"),
        *("CertificateRefused", "CertificateNotStrict", "NotAuthenticated", "NotAuthorised"),
    }
)
"""Faults that have nothing to do with a single study: all of them wait."""


@dataclass(frozen=True)
class Times:
    """Studies of these days; with hours, of one day between them, `hhmmss` both."""

    first: dt.date
    last: dt.date
    hours: tuple[str, str] | None = None


@dataclass(frozen=True)
class Found:
    """A study that an archive has told of. `told`: how many instances it says to have of it."""

    study_instance_uid: str
    study_date: dt.date | None = None
    told: int | None = None
    modalities: frozenset[str] = frozenset()
    patient_id: str = ""


class Listed(NamedTuple):
    """An instance that an archive has told of."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


class Wanted(NamedTuple):
    """An instance that is to come. `location`: of its file."""

    id: int
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    location: str


class Receipt(NamedTuple):
    """What has become of an instance on its way to ingest.

    Attributes:
        sha256: of the data set as the archive has given it; nothing where it did not come by us.
        status: ingest's answer to the C-STORE (PS3.4 table B.2-1).
        reason: why it could not even be offered to ingest; then there is no status.
    """

    id: int
    sha256: bytes | None
    size: int
    status: int
    reason: str = ""


@dataclass(frozen=True)
class Asked:
    """Instances that are to come. `whole`: that is all of the study."""

    study: str
    wanted: Sequence[Wanted]
    whole: bool


Tell = Callable[[Receipt], None]


class Source(Protocol):
    """Where objects come from. All of it blocks, and raises `PeerFault`."""

    @property
    def by_us(self) -> bool:
        """Whether objects come by us, so that what was received is known here."""
        ...

    def contents(self, study: str) -> list[Listed]:
        """Return all instances of a study; nothing where they are listed with the studies."""
        ...

    def fetch(self, asked: Asked, tell: Tell, handle: Handle) -> None:
        """Have instances stored at ingest, and tell what became of each that came."""
        ...


class Archive(Source, Protocol):
    """A source that answers questions."""

    def studies(self, times: Times | None) -> tuple[list[Found], bool]:
        """Return studies, and whether there are more; without times, of all days there are."""
        ...

    def of_patient(self, patient_id: str) -> list[Found]:
        """Return the studies of just this patient."""
        ...
