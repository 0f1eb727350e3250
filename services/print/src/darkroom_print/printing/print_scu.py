"""The Basic Print SCU: one association that makes films (PS3.4 annex H). It blocks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from darkroom_common.clock import monotonic
from darkroom_common.dimse.requestor import Peer, PeerFault, associate, in_memory
from darkroom_common.dimse.statuses import NO_SUCH_SOP_INSTANCE
from darkroom_common.dimse.users.normalized import (
    DATA_LIMIT,
    NormalizedAnswer,
    NormalizedUser,
    Reported,
)
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.data_set import SYNTAXES
from darkroom_common.errors import DarkroomError
from darkroom_common.pixels.samples import OCTET, is_colour
from darkroom_print.composing.bitmap import Bitmap
from darkroom_print.printing.print_status import in_words, is_transient, is_warning

GRAYSCALE_META: Final = "1.2.840.10008.5.1.1.9"
COLOUR_META: Final = "1.2.840.10008.5.1.1.18"
FILM_SESSION: Final = "1.2.840.10008.5.1.1.1"
FILM_BOX: Final = "1.2.840.10008.5.1.1.2"
GRAYSCALE_BOX: Final = "1.2.840.10008.5.1.1.4"
COLOUR_BOX: Final = "1.2.840.10008.5.1.1.4.1"
PRINT_JOB: Final = "1.2.840.10008.5.1.1.14"
ANNOTATION_BOX: Final = "1.2.840.10008.5.1.1.15"
PRINTER: Final = "1.2.840.10008.5.1.1.16"
PRINTER_INSTANCE: Final = "1.2.840.10008.5.1.1.17"
PRESENTATION_LUT: Final = "1.2.840.10008.5.1.1.23"
_POLL_SECONDS: Final = 2.0
_NO_SUCH_ATTRIBUTE: Final = 0x0105
_CS_CHARACTERS: Final = 16
_FORMAT_STATUSES: Final = frozenset({0x0106, 0x0115, 0x0120, 0x0121})
"""The value of an attribute, an argument, or what is missing."""
_PRINT_JOBS: Final = (0x21000500, 0x21200070)
"""Referenced Print Job Sequence of tables H.4-3 and H.4-8, and what the dictionary calls so."""
_TOLD_IN_EVENT: Final = {1: "NORMAL", 2: "WARNING", 3: "FAILURE"}
_JOB_IN_EVENT: Final = {1: "PENDING", 2: "PRINTING", 3: "DONE", 4: "FAILURE"}


class Refused(DarkroomError):
    """The printer has answered a service with a failure. The text says which, and why."""

    def __init__(self, what: str, status: int, given: str = "") -> None:
        super().__init__(f"{what}: {in_words(status)}{given}")
        self.status = status
        self.transient = is_transient(status)


class FormatRefused(DarkroomError):
    """The printer does not make the film box, or not its image boxes; another format may do."""


@dataclass(frozen=True)
class Capabilities:
    """What is asked of the association, as the printer's quirks allow."""

    colour: bool = False
    meta_only: bool = False
    presentation_lut: bool = False
    annotation: bool = False


@dataclass(frozen=True)
class FilmSheet:
    """One film to print.

    Attributes:
        box: attributes of the film box (C.13.3).
        lut: of the Presentation LUT (C.11.4), if one is sent.
        image: attributes of each image box beside its pixels (C.13.5).
        bitmaps: by position.
        annotations: text by position.
    """

    box: Dataset
    bitmaps: Sequence[Bitmap]
    image: Dataset = field(default_factory=Dataset)
    lut: Dataset | None = None
    annotations: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True)
class PrinterStatus:
    """Printer Status (2110,0010) and Printer Status Info (2110,0020), C.13.9."""

    status: str
    info: str
    name: str = ""


class PrintAssociation:
    """An association with a printer, from association to release.

    Attributes:
        warnings: what the printer has said so far, each once, in order.
        printer_status: as an N-GET or an event has told last.
    """

    def __init__(
        self,
        peer: Peer,
        capabilities: Capabilities,
        heard: Callable[[PrinterStatus], None] = lambda _: None,
    ) -> None:
        self._capabilities = capabilities
        self._meta = COLOUR_META if capabilities.colour else GRAYSCALE_META
        self._heard = heard
        self.warnings: list[str] = []
        self.printer_status: PrinterStatus | None = None
        self._jobs: dict[str, str] = {}
        self._job_info: dict[str, str] = {}
        self._session = ""
        offered = [self._meta]
        if not capabilities.meta_only:
            offered.append(PRINT_JOB)
            offered += [PRESENTATION_LUT] * capabilities.presentation_lut
            offered += [ANNOTATION_BOX] * capabilities.annotation
        self._association = associate(
            peer, [Proposal(uid, SYNTAXES) for uid in offered], in_memory(DATA_LIMIT)
        )
        self._user = NormalizedUser(self._association, self._take)
        if self._user.context(self._meta) is None:
            self._association.release()
            kind = "colour" if capabilities.colour else "grayscale"
            raise PeerFault("SopClassNotAccepted", f"no {kind} print management", transient=False)

    @property
    def applies_lut(self) -> bool:
        """Whether Presentation LUTs may be sent."""
        return self._user.context(PRESENTATION_LUT) is not None

    def status(self) -> PrinterStatus:
        """Ask for the printer's status (H.4.6.2.1)."""
        answer = self._user.get(self._meta, PRINTER, PRINTER_INSTANCE)
        self._check("printer status", answer)
        found = answer.data_set
        self._hear(
            PrinterStatus(
                _word(found, "PrinterStatus") or "NORMAL",
                _word(found, "PrinterStatusInfo"),
                str(found.get("PrinterName", "") or ""),
            )
        )
        return self.printer_status or PrinterStatus("NORMAL", "")

    def begin(self, session: Dataset) -> None:
        """Create the film session (H.4.1.2.1)."""
        answer = self._user.create(self._meta, FILM_SESSION, session)
        self._check("film session", answer)
        self._session = answer.instance

    def prepare(self, film: FilmSheet) -> str:
        """Create a film box and fill it; return its UID. Nothing is printed yet.

        Raises:
            FormatRefused: there is no such film box.
            Refused: of another service.
        """
        box = _copy(film.box)
        if film.lut is not None:
            lut = self._user.create(PRESENTATION_LUT, PRESENTATION_LUT, film.lut)
            self._check("presentation LUT", lut)
            box.ReferencedPresentationLUTSequence = [_reference(PRESENTATION_LUT, lut.instance)]
        box.ReferencedFilmSessionSequence = [_reference(FILM_SESSION, self._session)]
        made = self._user.create(self._meta, FILM_BOX, box)
        given = f" (of {', '.join(element.keyword for element in film.box)})"
        if made.status in _FORMAT_STATUSES:
            raise FormatRefused(f"film box: {in_words(made.status)}{given}")
        if made.status == _NO_SUCH_ATTRIBUTE:
            raise Refused("film box", made.status, given)
        self._check("film box", made)
        boxes = list(made.data_set.get("ReferencedImageBoxSequence", None) or [])
        for bitmap in film.bitmaps:
            if bitmap.position > len(boxes):
                raise FormatRefused(f"film box: it made {len(boxes)} image boxes")
            uid = str(boxes[bitmap.position - 1].ReferencedSOPInstanceUID)
            self._fill(uid, bitmap, film.image)
        places = list(made.data_set.get("ReferencedBasicAnnotationBoxSequence", None) or [])
        for position, text in film.annotations:
            if position > len(places):
                self._warn(f"annotation {position}: it has {len(places)} annotation boxes")
                continue
            note = Dataset()
            note.AnnotationPosition = position
            note.TextString = text
            uid = str(places[position - 1].ReferencedSOPInstanceUID)
            self._check("annotation box", self._user.set(ANNOTATION_BOX, ANNOTATION_BOX, uid, note))
        return made.instance

    def _fill(self, uid: str, bitmap: Bitmap, attributes: Dataset) -> None:
        image = _copy(attributes)
        image.ImageBoxPosition = bitmap.position
        item = pixel_item(bitmap)
        if self._capabilities.colour:
            image.BasicColorImageSequence = [item]
        else:
            image.BasicGrayscaleImageSequence = [item]
        kind = COLOUR_BOX if self._capabilities.colour else GRAYSCALE_BOX
        self._check(f"image box {bitmap.position}", self._user.set(self._meta, kind, uid, image))

    def act(self, film_box: str, *, on_session: bool = False) -> str:
        """Have it printed: the one step that makes film. Return the print job's UID, if any.

        Raises:
            Refused: it prints nothing.
            PeerFault: whether it prints is not known.
        """
        target = (FILM_SESSION, self._session) if on_session else (FILM_BOX, film_box)
        answer = self._user.action(self._meta, *target, 1)
        self._check("print", answer)
        for tag in _PRINT_JOBS:
            if tag in answer.data_set:
                for reference in answer.data_set[tag].value or []:
                    return str(reference.get("ReferencedSOPInstanceUID", ""))
        return ""

    def follow(self, print_job: str, seconds: float) -> str:
        """Wait for the end of a print job; return DONE, FAILURE, or how far it has come.

        Raises:
            PeerFault: the association has ended.
        """
        deadline = monotonic() + seconds
        if not print_job or self._user.context(PRINT_JOB) is None:
            return "DONE"
        while True:
            state = self._jobs.get(print_job, "")
            if state in ("DONE", "FAILURE") or monotonic() >= deadline:
                return state or "PENDING"
            answer = self._user.get(PRINT_JOB, PRINT_JOB, print_job)
            if answer.status == NO_SUCH_SOP_INSTANCE:  # it forgets what is done
                return "DONE"
            self._check("print job", answer)
            told = _word(answer.data_set, "ExecutionStatus")
            if told:
                self._keep(print_job, told, _word(answer.data_set, "ExecutionStatusInfo"))
            if self._jobs.get(print_job) not in ("DONE", "FAILURE"):
                self._user.wait(min(_POLL_SECONDS, max(0.0, deadline - monotonic())))

    def job_info(self, print_job: str) -> str:
        """Return Execution Status Info (2100,0030) as told last."""
        return self._job_info.get(print_job, "")

    def forget(self, film_box: str) -> None:
        """Delete a film box that is printed."""
        self._check("film box", self._user.delete(self._meta, FILM_BOX, film_box))

    def end_session(self) -> None:
        """Delete the film session."""
        session, self._session = self._session, ""
        if session:
            self._check("film session", self._user.delete(self._meta, FILM_SESSION, session))

    def release(self) -> None:
        """End the association in an orderly way."""
        self._association.release()

    def abort(self) -> None:
        """End the association at once."""
        self._association.abort()

    def interrupt(self) -> None:
        """Have whatever waits in another thread fail now."""
        self._association.interrupt()

    def _check(self, what: str, answer: NormalizedAnswer) -> None:
        if answer.status == 0:
            return
        if not is_warning(answer.status):
            raise Refused(what, answer.status)
        self._warn(f"{what}: {in_words(answer.status)}")

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _keep(self, print_job: str, state: str, info: str) -> None:
        self._jobs[print_job] = state
        if info:
            self._job_info[print_job] = info

    def _hear(self, status: PrinterStatus) -> None:
        self.printer_status = status
        if status.status != "NORMAL":
            self._warn(f"printer: {status.status}{', ' if status.info else ''}{status.info}")
        self._heard(status)

    def _take(self, report: Reported) -> None:
        if report.sop_class_uid == PRINTER:
            told = _TOLD_IN_EVENT.get(report.event_type, "WARNING")
            self._hear(PrinterStatus(told, _word(report.data_set, "PrinterStatusInfo")))
        elif report.sop_class_uid == PRINT_JOB:
            state = _JOB_IN_EVENT.get(report.event_type, "PENDING")
            info = _word(report.data_set, "ExecutionStatusInfo")
            self._keep(report.sop_instance_uid, state, info)


def pixel_item(bitmap: Bitmap) -> Dataset:
    """Return the item of the Basic Grayscale or Color Image Sequence (C.13.5), a 1:1 pixel."""
    item = Dataset()
    pixels = bitmap.pixels
    colour = is_colour(pixels)
    item.SamplesPerPixel = 3 if colour else 1
    item.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        item.PlanarConfiguration = 1  # so the standard wants it of a printer's colour image
        pixels = np.moveaxis(pixels, 2, 0)
    item.Rows, item.Columns = bitmap.pixels.shape[:2]
    item.PixelAspectRatio = [1, 1]
    octets = bitmap.bits == OCTET
    item.BitsAllocated = 8 if octets else 16
    item.BitsStored = bitmap.bits
    item.HighBit = bitmap.bits - 1
    item.PixelRepresentation = 0
    raw = np.ascontiguousarray(pixels, "u1" if octets else "<u2").tobytes()
    item.PixelData = raw + b"\0" * (len(raw) % 2)
    item["PixelData"].VR = "OB" if octets else "OW"
    return item


def _copy(attributes: Dataset) -> Dataset:
    """Return a data set of the same attributes; `Dataset(other)` would share their table."""
    made = Dataset()
    made.update(attributes)
    return made


def _reference(sop_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = instance
    return item


def _word(data_set: Dataset, keyword: str) -> str:
    """Return a value of VR CS, and nothing else: it is shown and kept."""
    value: Any = data_set.get(keyword, "")
    text = str(value or "").strip().upper()
    short = len(text) <= _CS_CHARACTERS
    return text if short and text.replace(" ", "").replace("_", "").isalnum() else ""
