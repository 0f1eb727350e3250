"""Fills index and store as ingest and metadata would, without running them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from darkroom_common.dicom.json_model import to_json
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_common.postgres.pool import Database
from darkroom_metadata.indexing.extract import extract
from darkroom_metadata.indexing.item import Item
from darkroom_metadata.indexing.repository import IndexRepository
from darkroom_metadata.indexing.rows import RowWriter
from tests.support.builders import a_stored_item, encode
from tests.support.headers import header_in

EXPLICIT = str(ExplicitVRLittleEndian)
PREAMBLE = bytes(128) + b"DICM"


def file_meta(transfer_syntax: str) -> bytes:
    """Return group 2 with nothing but the transfer syntax, which is all that reading needs."""
    value = transfer_syntax.encode() + b"\0" * (len(transfer_syntax) % 2)
    element = b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
    return b"\x02\x00\x00\x00UL\x04\x00" + len(element).to_bytes(4, "little") + element


@dataclass
class Seed:
    """Writes as the role of metadata."""

    database: Database
    store: Path
    keys: PhiKeys
    blind: BlindIndex

    async def add(
        self,
        *data_sets: Dataset,
        transfer_syntax: str = EXPLICIT,
        encoded: bytes | None = None,
        readable: bool = True,
    ) -> list[bytes]:
        """Store and index data sets; return their bytes as stored, without preamble and meta."""
        items: list[Item] = []
        bodies: list[bytes] = []
        for data_set in data_sets:
            body = encode(data_set, transfer_syntax) if encoded is None else encoded
            bodies.append(body)
            items.append(self._item(data_set, body, transfer_syntax, readable=readable))
        async with self.database.transaction() as db:
            await IndexRepository(RowWriter(self.keys)).add(db, items)
        return bodies

    def items(self, *data_sets: Dataset) -> list[Item]:
        """Store data sets and return what the index is to have of them."""
        return [
            self._item(one, encode(one, EXPLICIT), EXPLICIT, readable=True) for one in data_sets
        ]

    def _item(
        self, data_set: Dataset, body: bytes, transfer_syntax: str, *, readable: bool
    ) -> Item:
        head = PREAMBLE + file_meta(transfer_syntax)
        digest = hashlib.sha256(body).hexdigest()
        event = a_stored_item(
            study_instance_uid=str(data_set.StudyInstanceUID),
            series_instance_uid=str(data_set.SeriesInstanceUID),
            sop_instance_uid=str(data_set.SOPInstanceUID),
            sop_class_uid=str(data_set.SOPClassUID),
            transfer_syntax_uid=transfer_syntax,
            object_key=f"{digest[:2]}/{digest}.dcm",
            sha256=digest,
            size=len(body),
            data_set_offset=len(head),
        )
        path = self.store / event.object_key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head + body)
        header = {}
        if readable:
            header = header_in(head + body)
        found = extract(header, study_instance_uid=event.study_instance_uid, blind=self.blind)
        return Item(event, found)

    async def add_headers(self, data_sets: Iterable[Dataset]) -> None:
        """Index data sets whose objects nobody will ask for."""
        items = []
        for data_set in data_sets:
            event = a_stored_item(
                study_instance_uid=str(data_set.StudyInstanceUID),
                series_instance_uid=str(data_set.SeriesInstanceUID),
                sop_instance_uid=str(data_set.SOPInstanceUID),
            )
            found = extract(
                to_json(data_set), study_instance_uid=event.study_instance_uid, blind=self.blind
            )
            items.append(Item(event, found))
        async with self.database.transaction() as db:
            await IndexRepository(RowWriter(self.keys)).add(db, items)
