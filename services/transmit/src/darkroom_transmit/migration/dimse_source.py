"""An archive that speaks DIMSE: C-FIND, and C-GET or C-MOVE (PS3.4 annex C)."""

import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from pydicom.dataset import Dataset

from darkroom_common.dimse.requestor import Peer, PeerFault
from darkroom_common.dimse.users.find import STUDY_ROOT_FIND, find_once
from darkroom_common.specs.remote import RemoteQuery
from darkroom_transmit.migration.source import (
    MOST_STUDIES,
    Asked,
    Found,
    Listed,
    Receipt,
    Tell,
    Times,
)
from darkroom_transmit.migration.taking import Taker
from darkroom_transmit.remote.query_keys import study_root_identifier
from darkroom_transmit.retrieval.decision import Contents, Order
from darkroom_transmit.retrieval.dimse import Handle, Way, look, retrieve_known

MOST_AT_ALL: Final = 1_000_000
"""Studies of an answer to a question without dates."""
FIND_SECONDS: Final = 600.0
_REFUSED_FROM: Final = 0xA000


@dataclass(frozen=True)
class DimseSource:
    """See `Archive`.

    Attributes:
        silence: seconds in which a node may be busy without a word.
        destination: AE title to which a C-MOVE sends; empty: it is a C-GET.
        taker: makes where the objects of a C-GET go.
    """

    peer: Peer
    silence: float
    destination: str
    taker: Callable[[Handle], Taker]

    @property
    def by_us(self) -> bool:
        """See `Archive`: not by C-MOVE."""
        return not self.destination

    def studies(self, times: Times | None) -> tuple[list[Found], bool]:
        """See `Archive`."""
        keys = {}
        if times is not None:
            keys["StudyDate"] = f"{times.first:%Y%m%d}-{times.last:%Y%m%d}"
            if times.first == times.last:
                keys["StudyDate"] = f"{times.first:%Y%m%d}"
            if times.hours:
                keys["StudyTime"] = "-".join(times.hours)
        return self._find(keys, MOST_AT_ALL if times is None else MOST_STUDIES)

    def of_patient(self, patient_id: str) -> list[Found]:
        """See `Archive`."""
        found, _ = self._find({"PatientID": patient_id}, MOST_STUDIES)
        return [one for one in found if one.patient_id == patient_id.strip()]

    def _find(self, keys: dict[str, str], limit: int) -> tuple[list[Found], bool]:
        identifier = study_root_identifier(RemoteQuery(level="study", keys=keys))
        for keyword in ("PatientName", "ReferringPhysicianName", "StudyDescription"):
            del identifier[keyword]  # nobody needs to know
        (matches,) = find_once(
            self.peer, STUDY_ROOT_FIND, [identifier], limit=limit, seconds=FIND_SECONDS
        )
        found = (found_of(one) for one in matches.data_sets)
        return [one for one in found if one.study_instance_uid], matches.truncated

    def contents(self, study: str) -> list[Listed]:
        """See `Archive`."""
        told = look(self.peer, study, None).series
        return [
            Listed(series, sop_class, uid)
            for series, items in told.items()
            for uid, sop_class in items
            if uid
        ]

    def fetch(self, asked: Asked, tell: Tell, handle: Handle) -> None:
        """See `Archive`."""
        series: dict[str, list[tuple[str, str]]] = {}
        for one in asked.wanted:
            known = series.setdefault(one.series_instance_uid, [])
            known.append((one.sop_instance_uid, one.sop_class_uid))
        rows = {one.sop_instance_uid: one.id for one in asked.wanted}
        method: Literal["move", "get"] = "move" if self.destination else "get"
        named = () if asked.whole else tuple(rows)
        order = Order(asked.study, None, named, (), method)
        taker = self.taker(handle)

        def told(uid: str, digest: bytes, size: int, status: int) -> None:
            if uid in rows:  # a node may send what nobody has asked for: ingest has it all the same
                tell(Receipt(rows[uid], digest, size, status))

        taker.told = told
        way = Way(self.silence, self.destination, lambda: taker)
        end = retrieve_known(self.peer, order, Contents(series), way, handle)
        taker.check()
        if self.destination:
            self._moved(rows, end.failed_uids, tell)
        if end.status >= _REFUSED_FROM and not end.completed:
            raise PeerFault(f"Status{end.status:04X}")

    @staticmethod
    def _moved(rows: dict[str, int], failed: Sequence[str], tell: Tell) -> None:
        for uid, row in rows.items():
            if uid not in failed:
                tell(Receipt(row, None, 0, 0))


def found_of(one: Dataset) -> Found:
    """Return a match at the level of studies."""
    modalities = one.get("ModalitiesInStudy") or []
    told: int | None = None
    with suppress(ValueError, TypeError):
        told = int(one.get("NumberOfStudyRelatedInstances") or "")
    return Found(
        study_instance_uid=str(one.get("StudyInstanceUID", "") or ""),
        study_date=day_of(str(one.get("StudyDate", "") or "")),
        told=told,
        modalities=frozenset([modalities] if isinstance(modalities, str) else modalities),
        patient_id=str(one.get("PatientID", "") or "").strip(),
    )


def day_of(text: str) -> dt.date | None:
    """Return a date of DICOM; None for what is none."""
    with suppress(ValueError):
        return dt.date.fromisoformat(text.strip().replace(".", ""))
    return None
