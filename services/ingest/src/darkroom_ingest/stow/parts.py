"""The parts of a body that are whole objects (PS3.10 files): each goes to the spool as it comes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from darkroom_common.dicom.walk import Unreadable
from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.stow.handover import Item
from darkroom_common.stow.media import MediaType, parse_media_type
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.receiving.acceptance import Offer
from darkroom_ingest.receiving.receive import Receiver, Reception
from darkroom_ingest.stow.foreign import ForeignHead, read_head
from darkroom_ingest.stow.scratch import Memory

DICOM: Final = "application/dicom"
ELEMENTS_COERCED: Final = 0xB000
"""Warning: coercion of data elements (PS3.18 table 10.5.3-2)."""
_DERIVED: Final = frozenset({"study-uid-derived", "series-uid-derived"})
_PLAIN: Final = frozenset({"", "binary", "8bit", "7bit"})


@dataclass(frozen=True)
class Intake:
    """What parts become objects with.

    Attributes:
        receiver: the write path.
        sop_classes: that are stored.
        calling_ae_title: of what comes by STOW.
        called_ae_title: of this node.
        memory: of the process, for metadata.
        study_instance_uid: of the study of the path; empty: any.
    """

    receiver: Receiver
    sop_classes: frozenset[str]
    calling_ae_title: str
    called_ae_title: str
    memory: Memory
    study_instance_uid: str = ""

    def of_study(self, study_instance_uid: str) -> "Intake":
        """Return the same for the objects of one study."""
        return replace(self, study_instance_uid=study_instance_uid)

    def begin(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> Reception:
        """Begin to receive an object."""
        return self.receiver.begin(
            Offer(
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=transfer_syntax_uid,
                calling_ae_title=self.calling_ae_title,
                called_ae_title=self.called_ae_title,
                source="stow",
                study_instance_uid=self.study_instance_uid,
            )
        )


def settled(reception: Reception, sop_class_uid: str, sop_instance_uid: str) -> Item:
    """Finish an object after its last byte and return what has become of it."""
    status = reception.finish()
    identity = reception.identity
    item = Item(sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)
    if identity is not None:
        item.sop_class_uid = identity.sop_class_uid
        item.sop_instance_uid = identity.sop_instance_uid
        item.study_instance_uid = identity.study_instance_uid
        item.series_instance_uid = identity.series_instance_uid
    if status is not StoreStatus.SUCCESS:
        item.failure, item.code = int(status), reception.reason
    elif identity is not None and _DERIVED.intersection(identity.flags):
        item.warning, item.code = ELEMENTS_COERCED, "uids-derived"
    return item


class Parts(Protocol):
    """What the parts of a body become."""

    items: list[Item]

    def begin(self, fields: Mapping[str, str]) -> None:
        """Begin a part."""
        ...

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the part; they are not looked at after the return."""
        ...

    def end(self) -> None:
        """Hear that the part has come whole."""
        ...

    def abandon(self) -> None:
        """Forget the part that has not come whole."""
        ...

    def finish(self) -> None:
        """Settle what is left, after the last part."""
        ...

    def close(self) -> None:
        """Give back what it holds, whatever has become of it."""
        ...


class ObjectParts:
    """Stores parts of `application/dicom`, one object each."""

    def __init__(self, intake: Intake) -> None:
        self.items: list[Item] = []
        self._intake = intake
        self._beginning = bytearray()
        self._try_at = 0
        self._head: ForeignHead | None = None
        self._reception: Reception | None = None
        self._failed: Item | None = None

    def begin(self, fields: Mapping[str, str]) -> None:
        """See `Parts`."""
        self._beginning.clear()
        self._try_at = 0
        self._head = self._reception = self._failed = None
        said = fields.get("content-type", "")
        kind = parse_media_type(said) if said else MediaType(DICOM)
        if kind is None or kind.kind != DICOM:
            self._fail(StoreStatus.CANNOT_UNDERSTAND, "media-type")
        elif fields.get("content-transfer-encoding", "").lower() not in _PLAIN:
            self._fail(StoreStatus.CANNOT_UNDERSTAND, "transfer-encoding")

    def write(self, data: memoryview) -> None:
        """See `Parts`."""
        if self._reception is not None:
            if not self._reception.overrun:
                self._reception.write([data])
        elif self._failed is None:
            self._beginning += data
            if len(self._beginning) >= self._try_at:
                self._try_at = 2 * len(self._beginning)  # however small the pieces are
                self._open(whole=False)

    def _open(self, *, whole: bool) -> None:
        """Begin the object as soon as its head is there."""
        try:
            head = read_head(self._beginning, whole=whole)
        except Unreadable as error:
            self._fail(StoreStatus.CANNOT_UNDERSTAND, error.code)
            return
        if head is None:
            return
        self._head = head
        if head.executable:
            metrics.PREAMBLE_ZEROED.inc()
        if head.sop_class_uid not in self._intake.sop_classes:
            self._fail(StoreStatus.SOP_CLASS_NOT_SUPPORTED, "sop-class", head)
            return
        self._reception = self._intake.begin(
            head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid
        )
        with memoryview(self._beginning) as beginning:
            self._reception.write([beginning[head.offset :]])
        self._beginning = bytearray()

    def _fail(self, status: StoreStatus, code: str, head: ForeignHead | None = None) -> None:
        self._failed = Item(failure=int(status), code=code)
        if head is not None:
            self._failed.sop_class_uid = head.sop_class_uid
            self._failed.sop_instance_uid = head.sop_instance_uid
        self._beginning.clear()

    def end(self) -> None:
        """See `Parts`."""
        if self._reception is None and self._failed is None:
            self._open(whole=True)
        reception, head, self._reception = self._reception, self._head, None
        if reception is not None and head is not None:
            self.items.append(settled(reception, head.sop_class_uid, head.sop_instance_uid))
        elif self._failed is not None:
            self.items.append(self._failed)

    def abandon(self) -> None:
        """See `Parts`."""
        reception, self._reception = self._reception, None
        if reception is not None:
            reception.abandon()

    def finish(self) -> None:
        """See `Parts`."""

    def close(self) -> None:
        """See `Parts`."""
