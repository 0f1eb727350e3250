"""What is retrieved, by which identifiers, and what an end means (PS3.4 sections C.4.2, C.4.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from pydicom.dataset import Dataset

from darkroom_common.dimse.contexts import storage_sop_classes, transfer_syntaxes
from darkroom_common.dimse.statuses import CANCELLED, SUB_OPERATIONS_FAILED, SUCCESS
from darkroom_transmit.remote.query_keys import put

MOST_CONTEXTS: Final = 126
"""Of 128: two are for the query."""
MOST_UIDS: Final = 200
"""Of one identifier."""
_PLAIN: Final = tuple(transfer_syntaxes()[:2])
_COMMON: Final = (  # what is compressed, the usual first: each gets a context of its own
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
)
MOST_SYNTAXES: Final = 30
"""Of one context: DCMTK refuses an association that has more than some 36."""
_RETIRED: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (*range(52, 57), *range(58, 67)))
_COMMON_CLASSES: Final = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.1.2",
    "1.2.840.10008.5.1.4.1.1.12.1",
    "1.2.840.10008.5.1.4.1.1.128",
    "1.2.840.10008.5.1.4.1.1.20",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.88.11",
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.67",
    "1.2.840.10008.5.1.4.1.1.11.1",
    "1.2.840.10008.5.1.4.1.1.104.1",
    "1.2.840.10008.5.1.4.1.1.13.1.3",
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.481.1",
    "1.2.840.10008.5.1.4.1.1.481.2",
    "1.2.840.10008.5.1.4.1.1.481.3",
    "1.2.840.10008.5.1.4.1.1.481.5",
    "1.2.840.10008.5.1.4.1.1.77.1.4",
)


@dataclass(frozen=True)
class Order:
    """What is retrieved.

    Attributes:
        wanted: only these instances are missing of it.
        here: what an earlier attempt has brought is among these instances.
    """

    study: str
    series: str | None
    instances: tuple[str, ...]
    wanted: tuple[str, ...]
    method: Literal["move", "get"]
    here: frozenset[str] = frozenset()

    def narrowed(self, contents: "Contents") -> "Order | None":
        """Return what is left to retrieve of what a node says it has; None when nothing is."""
        known = {uid for items in contents.series.values() for uid, _ in items}
        asked = known & set(self.named) if self.named else known
        if not self.here or not asked:
            return self
        missing = tuple(sorted(asked - self.here))
        return replace(self, wanted=missing, here=frozenset()) if missing else None

    @property
    def named(self) -> tuple[str, ...]:
        """The instances that are asked for by name, if any."""
        return self.wanted or self.instances


@dataclass(frozen=True)
class Contents:
    """What a node says that a study has: (SOP instance, SOP class) by series."""

    series: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)

    @property
    def sop_classes(self) -> tuple[str, ...]:
        """The SOP classes, each once."""
        found = (kind for items in self.series.values() for _, kind in items if kind)
        return tuple(dict.fromkeys(found))


def identifiers(order: Order, contents: Contents) -> list[Dataset]:
    """Return the identifiers that ask for an order, the fewest that do."""
    if not order.named:
        made = Dataset()
        made.QueryRetrieveLevel = "SERIES" if order.series else "STUDY"
        put(made, "StudyInstanceUID", order.study)
        if order.series:
            put(made, "SeriesInstanceUID", order.series)
        return [made]
    left = set(order.named)
    found: list[Dataset] = []
    for series, items in contents.series.items():
        here = [uid for uid, _ in items if uid in left]
        left -= set(here)
        found += _images(order.study, series, here)
    if left and order.series:
        found += _images(order.study, order.series, sorted(left))
        left.clear()
    if left:  # nobody knows where they are
        return identifiers(Order(order.study, order.series, (), (), order.method), contents)
    return found


def _images(study: str, series: str, uids: Sequence[str]) -> list[Dataset]:
    found = []
    for start in range(0, len(uids), MOST_UIDS):
        made = Dataset()
        made.QueryRetrieveLevel = "IMAGE"
        put(made, "StudyInstanceUID", study)
        put(made, "SeriesInstanceUID", series)
        put(made, "SOPInstanceUID", "\\".join(uids[start : start + MOST_UIDS]))
        found.append(made)
    return found


def storage_contexts(sop_classes: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return (SOP class, transfer syntaxes) to offer for a C-GET: objects come as they are stored.

    A context with several transfer syntaxes is answered with one of them, so that each compressed
    one has a context of its own, as far as there is room; the last context has the rest.
    """
    allowed = set(storage_sop_classes())
    known = [uid for uid in sop_classes if uid in allowed or not uid.startswith("1.2.840.10008.")]
    classes = (known or list(_COMMON_CLASSES))[: MOST_CONTEXTS // 2]
    room = MOST_CONTEXTS // len(classes)
    others = [uid for uid in transfer_syntaxes() if uid not in {*_PLAIN, *_COMMON}]
    rest = sorted(others, key=lambda uid: uid in _RETIRED)
    groups = [_PLAIN, *((one,) for one in _COMMON), *((one,) for one in rest)]
    if len(groups) > room:
        tail = tuple(uid for group in groups[room - 1 :] for uid in group)
        groups = [*groups[: room - 1], tail[:MOST_SYNTAXES]]
    return [(uid, group) for uid in classes for group in groups]


@dataclass(frozen=True)
class End:
    """What has become of one attempt.

    Attributes:
        arrived: instances of what was asked for that are in the index, from whatever attempt.
    """

    status: int
    completed: int
    failed: int
    warned: int
    failed_uids: tuple[str, ...]
    arrived: int = 0

    @property
    def says_nothing(self) -> bool:
        """Whether it went well, by its status, without a count of what has come.

        The counts are conditional (PS3.7 sections 9.1.3 and 9.1.4), and some nodes send zeros.
        """
        return self._went_well and not self.completed + self.failed + self.warned

    @property
    def doubted_until(self) -> int:
        """How many instances in the index show that it went well, whatever the counts say."""
        if self.says_nothing:
            return 1
        wrong = self.status == SUCCESS and self.failed and self._went_well
        return self.completed + self.failed + self.warned if wrong else 0

    @property
    def _went_well(self) -> bool:
        return self.status in (SUCCESS, SUB_OPERATIONS_FAILED) and not self.failed_uids


@dataclass(frozen=True)
class Verdict:
    """What becomes of the job. `wanted`: what the next attempt asks for; none: all of it."""

    state: Literal["DONE", "RETRY", "FAILED", "CANCELLED"]
    reason: str = ""
    wanted: tuple[str, ...] = ()


_PERMANENT: Final = {
    0x0122: "SopClassNotSupported",
    0x0124: "NotAuthorised",
    0xA801: "MoveDestinationUnknown",
    0xA900: "IdentifierDoesNotMatch",
}


def judge(end: End) -> Verdict:
    """Return what the last answer of a node means for the job."""
    if end.status == CANCELLED:
        return Verdict("CANCELLED", "Cancelled")
    if end.status in _PERMANENT:
        return Verdict("FAILED", _PERMANENT[end.status])
    all_here = 0 < end.doubted_until <= end.arrived
    if end.failed_uids or (end.failed and not all_here):
        return Verdict("RETRY", "SubOperationsFailed", end.failed_uids)
    if end.status == SUCCESS or (end.status == SUB_OPERATIONS_FAILED and end.warned):
        if not end.completed + end.warned + end.arrived:
            return Verdict("FAILED", "NothingFound")
        return Verdict("DONE")
    return Verdict("RETRY", f"Status{end.status:04X}")
