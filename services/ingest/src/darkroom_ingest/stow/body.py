"""The body of a STOW request, of either kind: one object, or a multipart of them."""

from collections.abc import Mapping
from typing import Final

from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.stow.handover import Item, Outcome
from darkroom_common.stow.media import MediaType, parse_media_type
from darkroom_common.stow.multipart import (
    MalformedMultipart,
    Multipart,
    PartBegins,
    PartEnds,
    PartLimits,
)
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.stow.described import JSON, XML, DescribedParts
from darkroom_ingest.stow.parts import DICOM, Intake, ObjectParts, Parts

MULTIPART: Final = "multipart/related"


class NotTaken(Exception):
    """The body is of no kind that is taken; the status says why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Body:
    """Takes a body as its bytes arrive: `feed` them, then `finish`; `abandon` it in the end.

    Args:
        content_type: of the request.
        intake: what objects are received with.
        limits: on what stands around parts.

    Raises:
        NotTaken: 400, it has no boundary; 415, it is of another media type.
    """

    def __init__(self, content_type: str, intake: Intake, limits: PartLimits) -> None:
        root = parse_media_type(content_type)
        if root is None:
            raise NotTaken(415)
        self._fault = ""
        self._open = False
        self._multipart: Multipart | None = None
        self._parts = _parts_of(root, intake)
        if root.kind == MULTIPART:
            try:
                self._multipart = Multipart(root.get("boundary"), limits)
            except MalformedMultipart as error:
                raise NotTaken(400) from error
        else:
            self._begin({"content-type": content_type})

    @property
    def is_within_part(self) -> bool:
        """Whether what comes next is content: no head, and nothing that is passed over."""
        return self._open

    def _begin(self, fields: Mapping[str, str]) -> None:
        self._parts.begin(fields)
        self._open = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._multipart is None:
            self._parts.write(memoryview(data))
            return
        if self._fault:
            return
        try:
            for event in self._multipart.feed(data):
                match event:
                    case PartBegins(fields):
                        self._begin(fields)
                    case PartEnds():
                        self._open = False
                        self._parts.end()
                    case _:
                        self._parts.write(event)
        except MalformedMultipart as error:
            self._break_off(error.code)

    def finish(self) -> Outcome:
        """Return what has become of it, after the last byte."""
        if self._multipart is None:
            self._open = False
            self._parts.end()
        elif not self._fault:
            try:
                self._multipart.finish()
            except MalformedMultipart as error:
                self._break_off(error.code)
        self._parts.finish()
        for item in self._parts.items:
            metrics.STOW_OBJECTS.labels(item.code if item.failure else "stored").inc()
        return Outcome(items=self._parts.items, fault=self._fault)

    def _break_off(self, code: str) -> None:
        """Give up what follows; the part that was open is none, those before it are kept."""
        self._fault = code
        if self._open:
            self._parts.abandon()
            item = Item(failure=int(StoreStatus.CANNOT_UNDERSTAND), code=code)
            self._parts.items.append(item)
        self._open = False

    def abandon(self) -> None:
        """Forget what has not come whole, and give back what is held; after `finish`, too."""
        if self._open:
            self._parts.abandon()
        self._open = False
        self._parts.close()


def _parts_of(root: MediaType, intake: Intake) -> Parts:
    kind = root.kind
    if kind == MULTIPART:
        kind = root.get("type").lower().partition(";")[0].strip() or DICOM  # some quote parameters
    if kind == DICOM:
        return ObjectParts(intake)
    if kind in (JSON, XML):
        return DescribedParts(intake, kind)
    raise NotTaken(415)
