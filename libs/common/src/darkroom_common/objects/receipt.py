"""A receipt: one object that was received and is durable, on its way from spool to index."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from darkroom_common.dicom.identity import Identity, read_identity
from darkroom_common.dicom.part10 import decode_head
from darkroom_common.messages.ingest import InstanceStored


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

    def stored(self, object_key: str) -> InstanceStored:
        """Return the fact that this object is in the store; its id is the receipt's."""
        return InstanceStored(
            id=self.id,
            receipt=self.id,
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


def read_receipt(
    content: bytes | memoryview, *, receipt_id: str, received_at: datetime, sha256: str = ""
) -> Receipt:
    """Return the receipt of a DICOM file of ours by reading the file: it says all by itself.

    Args:
        content: the whole file, head and data set.
        receipt_id: the id that the receipt is to have.
        received_at: when the file came.
        sha256: of the data set, when the caller has it already; else it is computed.

    Raises:
        Unreadable: it is no whole DICOM file.
    """
    meta, offset = decode_head(content)
    data_set = memoryview(content)[offset:]
    return Receipt(
        id=receipt_id,
        identity=read_identity(data_set, meta.transfer_syntax_uid),
        transfer_syntax_uid=meta.transfer_syntax_uid,
        sha256=sha256 or hashlib.sha256(data_set).hexdigest(),
        size=len(data_set),
        data_set_offset=offset,
        calling_ae_title=meta.calling_ae_title,
        called_ae_title=meta.called_ae_title,
        received_at=received_at,
    )
