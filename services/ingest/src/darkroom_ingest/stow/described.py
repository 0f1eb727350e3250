"""Parts that are metadata and bulk data (PS3.18 section 8.6 and 10.5.1): objects are made of them.

Metadata come first. An object is written as soon as all that it refers to is there, by the same
write path as every other; bulk data wait for it on the volume of the spool, not in memory.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Final

from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.stow.handover import Item
from darkroom_common.stow.media import parse_media_type
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.receiving.acceptance import fits
from darkroom_ingest.receiving.receive import LOOK_EVERY
from darkroom_ingest.stow.code_streams import BEGINNING
from darkroom_ingest.stow.encoding import Encoded, Unsayable, encode_json, value_of
from darkroom_ingest.stow.native_xml import NativeXml
from darkroom_ingest.stow.parts import Intake, settled
from darkroom_ingest.stow.pixels import OF_PIXELS, BulkPart, Made, make
from darkroom_ingest.stow.scratch import NoRoom, Range, Scratch

log = get_logger(__name__)
JSON: Final = "application/dicom+json"
XML: Final = "application/dicom+xml"
MOST_BULK: Final = 100_000
MOST_DATA_SETS: Final = 10_000
"""Of the metadata of one body."""
_FRAMES: Final = 0x00280008
_UNDERSTOOD: Final = StoreStatus.CANNOT_UNDERSTAND


@dataclass
class _Object:
    """An object that waits for its bulk data."""

    encoded: Encoded
    sop_class_uid: str
    sop_instance_uid: str
    data_set: Mapping[str, Any]
    """Of one that says nothing of its pixels all, else nothing else."""
    frames: int
    """As metadata say it; 1 when they do not."""
    missing: set[str] = field(default_factory=set)

    def failed(self, status: StoreStatus, code: str) -> Item:
        """Return that it is not stored."""
        return Item(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            failure=int(status),
            code=code,
        )


class DescribedParts:
    """Makes objects of parts of metadata and of bulk data.

    Args:
        intake: what objects are received with.
        kind: the media type of the metadata.
    """

    def __init__(self, intake: Intake, kind: str) -> None:
        self.items: list[Item] = []
        self._intake = intake
        self._kind = kind
        self._memory = intake.memory
        self._taken = 0
        self._text = bytearray()
        self._xml: NativeXml | None = None
        self._is_metadata = False
        self._part: BulkPart | None = None
        self._looked = 0
        self._failed: tuple[StoreStatus, str] | None = None
        self._scratch = Scratch(intake.receiver.spool.tmp)
        self._described = 0
        self._objects: dict[int, _Object] = {}
        self._bulk: dict[str, list[BulkPart]] = {}
        self._users: Counter[str] = Counter()  # of the objects that bulk data is still for
        self._waiting: dict[str, list[tuple[int, int]]] = {}  # heaps: frames, number of an object
        self._parts = 0

    def begin(self, fields: Mapping[str, str]) -> None:
        """See `Parts`."""
        self._failed = self._part = self._xml = None
        self._text.clear()
        kind = parse_media_type(fields.get("content-type", self._kind))
        self._is_metadata = kind is not None and kind.kind == self._kind
        if self._is_metadata:
            self._xml = NativeXml() if self._kind == XML else None
            return
        self._parts += 1
        location = fields.get("content-location", "")
        if kind is None or not location or self._parts > MOST_BULK:
            self._failed = (_UNDERSTOOD, "no-location" if not location else "bad-bulk-data")
            return
        self._part = BulkPart(location, kind, Range(self._scratch.end, 0))
        self._looked = 0

    def write(self, data: memoryview) -> None:
        """See `Parts`."""
        if self._failed is not None:
            return
        try:
            if self._is_metadata:
                self._memory.take(len(data))
                self._taken += len(data)
                if self._xml is None:
                    self._text += data
                else:
                    self._xml.feed(bytes(data))
            elif self._part is not None:
                self._keep(self._part, data)
        except NoRoom:
            self._failed = (StoreStatus.REFUSED_OUT_OF_RESOURCES, "metadata-too-large")
        except Unsayable as error:
            self._failed = (_UNDERSTOOD, error.code)
        except OSError as error:
            log.error("stow.scratch_failed", reason=error.strerror)
            self._failed = (StoreStatus.REFUSED_OUT_OF_RESOURCES, "failed")

    def _keep(self, part: BulkPart, data: memoryview) -> None:
        receiver, size = self._intake.receiver, part.where.size + len(data)
        if size > receiver.max_bytes:
            self._failed = (_UNDERSTOOD, "too-large")
            return
        if size >= self._looked:
            self._looked = size + LOOK_EVERY
            refused = fits(receiver.room())
            if refused is not None:
                self._failed = (refused.status, refused.reason)
                return
        self._scratch.write(data)
        part.where = part.where._replace(size=size)
        missing = BEGINNING - len(part.beginning)
        if missing > 0 and part.is_compressed:
            part.beginning += data[:missing]

    def end(self) -> None:
        """See `Parts`."""
        part, failed = self._part, self._failed
        self._part = None
        if failed is None and self._is_metadata:
            failed = self._describe()
        elif failed is None and part is not None:
            part.look()
            self._scratch.hold(part.where)
            self._bulk.setdefault(part.uri, []).append(part)
            self._settle(part.uri)
        if failed is not None:
            self.items.append(Item(failure=int(failed[0]), code=failed[1]))

    def _describe(self) -> tuple[StoreStatus, str] | None:
        """Take metadata that have come whole; return why they are none."""
        try:
            if self._xml is not None:
                found: Any = [self._xml.finish()]
            else:
                found = json.loads(bytes(self._text).decode("utf-8-sig"), parse_constant=_none)
        except Unsayable as error:
            return _UNDERSTOOD, error.code
        except (ValueError, RecursionError):
            return _UNDERSTOOD, "bad-json"
        self._text.clear()
        data_sets = found if isinstance(found, list) else [found]
        self._described += len(data_sets)
        if self._described > MOST_DATA_SETS:
            return _UNDERSTOOD, "many-data-sets"
        before = set[str]()
        for number, data_set in enumerate(data_sets, self._described - len(data_sets)):
            before |= self._add(number, data_set)
        for uri in before:
            self._settle(uri)
        return None

    def _add(self, number: int, data_set: Any) -> set[str]:
        """Take a data set; return which of its bulk data have come already."""
        try:
            encoded = encode_json(data_set)
        except Unsayable as error:
            self.items.append(Item(failure=int(_UNDERSTOOD), code=error.code))
            return set()
        one = _Object(
            encoded,
            str(value_of(data_set, 0x00080016) or ""),
            str(value_of(data_set, 0x00080018) or ""),
            {OF_PIXELS: 1} if OF_PIXELS in data_set else data_set,
            _count(value_of(data_set, _FRAMES)),
            {bulk.uri for bulk in encoded.bulk},
        )
        self._objects[number] = one
        for uri in one.missing:
            self._users[uri] += 1
            heappush(self._waiting.setdefault(uri, []), (one.frames, number))
        if not one.missing:
            self._make(number)
        return one.missing & self._bulk.keys()

    def _settle(self, uri: str) -> None:
        """Make the objects that have all that they need, now that this is there."""
        parts = self._bulk[uri]
        waiting = self._waiting.get(uri, [])
        while waiting and not (parts[0].is_compressed and len(parts) < waiting[0][0]):
            _, number = heappop(waiting)
            missing = self._objects[number].missing
            missing.discard(uri)
            if not missing:
                self._make(number)

    def _make(self, number: int) -> None:
        """Make an object, and let go of what was for it alone."""
        one = self._objects.pop(number)
        self.items.append(self._store(one))
        for uri in {bulk.uri for bulk in one.encoded.bulk}:
            self._users[uri] -= 1
            if not self._users[uri]:
                del self._users[uri]
                for part in self._bulk.pop(uri, []):
                    self._scratch.let_go(part.where)

    def _store(self, one: _Object) -> Item:
        if one.sop_class_uid not in self._intake.sop_classes:
            return one.failed(StoreStatus.SOP_CLASS_NOT_SUPPORTED, "sop-class")
        try:
            made: Made = make(one.encoded, one.data_set, self._bulk)
        except Unsayable as error:
            unsupported = error.code == "transfer-syntax"
            status = StoreStatus.TRANSFER_SYNTAX_NOT_SUPPORTED if unsupported else _UNDERSTOOD
            return one.failed(status, error.code)
        reception = self._intake.begin(
            one.sop_class_uid, one.sop_instance_uid, made.transfer_syntax_uid
        )
        try:
            for piece in made.pieces:
                if isinstance(piece, bytes):
                    reception.write([memoryview(piece)])
                    continue
                for some in self._scratch.read(piece):
                    reception.write([memoryview(some)])
        except OSError as error:
            log.error("stow.scratch_failed", reason=error.strerror)
            reception.abandon()
            return one.failed(StoreStatus.REFUSED_OUT_OF_RESOURCES, "failed")
        return settled(reception, one.sop_class_uid, one.sop_instance_uid)

    def abandon(self) -> None:
        """See `Parts`."""
        self._part = self._xml = None
        self._text.clear()

    def finish(self) -> None:
        """See `Parts`: what has not come is missing, but for frames that nobody has counted."""
        for one in self._objects.values():
            if one.missing - self._bulk.keys():
                self.items.append(one.failed(_UNDERSTOOD, "bulk-data-missing"))
            else:
                self.items.append(self._store(one))
        self._objects.clear()

    def close(self) -> None:
        """See `Parts`."""
        self._scratch.close()
        self._memory.give(self._taken)
        self._taken = 0


def _none(_: str) -> float:
    raise ValueError("no number of JSON")


def _count(value: Any) -> int:
    try:
        return max(1, int(value))
    except (TypeError, ValueError):
        return 1
