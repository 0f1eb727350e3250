"""A receipt: one object that was received and is durable, on its way from spool to index."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from darkroom_common.dicom.identity import Identity, IdentityReader
from darkroom_common.dicom.limits import NO_LIMITS, ReadLimits
from darkroom_common.dicom.part10 import HEAD_LIMIT, FileMeta, decode_head
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.messages.events import StoredItem


@dataclass(frozen=True)
class Receipt:
    """What is known of an object in the spool's `ready` directory."""

    id: str
    identity: Identity
    transfer_syntax_uid: str
    sha256: str
    """Of the data set's bytes."""
    size: int
    """Bytes of the data set."""
    data_set_offset: int
    calling_ae_title: str
    called_ae_title: str
    received_at: datetime
    source: Literal["dimse", "stow"] = "dimse"
    trace: dict[str, str] = field(default_factory=dict)

    def stored(self, object_key: str) -> StoredItem:
        """Return the fact that this object is in the store."""
        return StoredItem(
            receipt=self.id,
            traceparent=self.trace.get("traceparent", ""),
            study_instance_uid=self.identity.study_instance_uid,
            series_instance_uid=self.identity.series_instance_uid,
            sop_instance_uid=self.identity.sop_instance_uid,
            sop_class_uid=self.identity.sop_class_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            object_key=object_key,
            sha256=self.sha256,
            size=self.size,
            data_set_offset=self.data_set_offset,
            source=self.source,
            calling_ae_title=self.calling_ae_title,
            called_ae_title=self.called_ae_title,
            received_at=self.received_at,
            flags=self.identity.flags,
        )


class ReceiptReader:
    """Reads the receipt of a DICOM file of ours from its bytes, in order and in bounded memory.

    The file says by itself all that the receipt needs but its id and when it came. One whose head
    says that an operator has released it as it is need not be whole.

    Args:
        limits: bounds on what is read.
    """

    def __init__(self, limits: ReadLimits = NO_LIMITS) -> None:
        self._limits = limits
        self._digest = hashlib.sha256()
        self._size = 0
        self._beginning = bytearray()
        self._head: tuple[FileMeta, int] | None = None
        self._identity: IdentityReader | None = None
        self._broken = False

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the file.

        Raises:
            Unreadable: it is no DICOM file of ours; nothing may be fed after that.
        """
        if self._identity is not None:
            self._data_set(self._identity, piece)
            return
        self._beginning += piece
        if len(self._beginning) >= HEAD_LIMIT:
            self._begin()

    def finish(self, *, receipt_id: str, received_at: datetime) -> Receipt:
        """Return the receipt, after the last byte.

        Raises:
            Unreadable: it is no whole DICOM file.
        """
        if self._head is None or self._identity is None:
            self._begin()
        assert self._head is not None  # noqa: S101 - `_begin` has made both
        assert self._identity is not None  # noqa: S101
        meta, offset = self._head
        identity = self._identity.found() if meta.as_it_is else self._identity.finish()
        return Receipt(
            id=receipt_id,
            identity=identity,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            sha256=self._digest.hexdigest(),
            size=self._size,
            data_set_offset=offset,
            calling_ae_title=meta.calling_ae_title,
            called_ae_title=meta.called_ae_title,
            received_at=received_at,
            source=meta.source,
        )

    def _begin(self) -> None:
        beginning = bytes(self._beginning)
        self._beginning.clear()
        self._head = decode_head(beginning)
        meta, offset = self._head
        self._identity = IdentityReader(meta.transfer_syntax_uid, self._limits)
        self._data_set(self._identity, beginning[offset:])

    def _data_set(self, identity: IdentityReader, piece: bytes) -> None:
        self._digest.update(piece)
        self._size += len(piece)
        if self._broken:
            return
        try:
            identity.feed(piece)
        except Unreadable:
            if self._head is None or not self._head[0].as_it_is:
                raise
            self._broken = True
