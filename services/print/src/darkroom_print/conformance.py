"""What print says of itself in the conformance statement: what it makes of an order is listed."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from darkroom_common.conformance.lines import StatedLine, attribute, line, name_of
from darkroom_common.dimse.contexts import VERIFICATION
from darkroom_common.dimse.wire.association_items import IMPLICIT_VR_LITTLE_ENDIAN
from darkroom_common.dimse.wire.data_set import SYNTAXES
from darkroom_common.films.profiles import profiles
from darkroom_common.specs.films import FilmOrder
from darkroom_print.composing.bitmap import Bitmap
from darkroom_print.planning.plan import plan
from darkroom_print.printing.print_scu import (
    ANNOTATION_BOX,
    COLOUR_BOX,
    COLOUR_META,
    FILM_BOX,
    FILM_SESSION,
    GRAYSCALE_BOX,
    GRAYSCALE_META,
    PRESENTATION_LUT,
    PRINT_JOB,
    PRINTER,
    pixel_item,
)
from darkroom_print.printing.print_status import in_words, is_transient, is_warning
from darkroom_print.settings import PrintSettings

_HERE: Final = "tests/integration/print"
_PRINTED: Final = f"{_HERE}/test_dcmprscp.py::test_every_layout_arrives_pixel_for_pixel"
_SESSION: Final = f"{_HERE}/test_dcmprscp.py::test_the_session_is_as_asked"
_LUT: Final = f"{_HERE}/test_dcmprscp.py::test_presentation_lut_and_polarity_are_as_asked"
_COLOUR: Final = f"{_HERE}/test_profiles.py::test_colour_is_printed_by_the_colour_meta_class"
_DENSITIES: Final = f"{_HERE}/test_profiles.py::test_densities_and_annotations_are_as_asked"
_STATUS: Final = f"{_HERE}/test_profiles.py::test_a_printer_is_asked_for_its_status"
_JOB: Final = f"{_HERE}/test_states.py::test_the_end_of_the_printers_own_job_is_waited_for"
_META_ONLY: Final = f"{_HERE}/test_profiles.py::test_a_printer_with_only_the_meta_class"
_ECHOED: Final = (
    f"{_HERE}/test_states.py::test_a_printer_is_asked_on_a_schedule_and_shown_when_it_is_away"
)
_MEANS: Final = "tests/unit/print/test_press.py::test_what_a_status_means"
_PROFILE: Final = "dcmprscp"
_SERVICE: Final = "Print management"
_FIXED: Final = frozenset(
    {"SamplesPerPixel", "PixelRepresentation", "PixelAspectRatio", "ImageBoxPosition", "Polarity"}
)
"""Attributes whose value is the same whatever is asked for."""
_SEEN: Final = (
    (0x0000, "0000"),
    (0x0001, "0001"),
    (0x0107, "0107"),
    (0x0116, "0116"),
    (0xB600, "Bxxx"),
    (0x0110, "0110"),
    (0x0213, "0213"),
    (0xC601, "C601"),
    (0xC602, "C602"),
    (0xC605, "C605"),
    (0xC616, "C616"),
    (0x0106, "0106"),
    (0xC600, "C600"),
    (0xC000, "Cxxx"),
)


def stated(_: PrintSettings) -> tuple[StatedLine, ...]:
    """Return every line about print."""
    return (
        line(
            "entities",
            "printing",
            "as each printer says",
            "none",
            "composes films and prints them; asks printers for their status",
            shown_by=_PRINTED,
        ),
        *_services(),
        *_proposals(),
        *_attributes(),
        *_statuses(),
        line(
            "security",
            "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile",
            "print, as requestor",
            "as each printer says",
            shown_by=f"{_HERE}/test_profiles.py::test_a_printer_of_an_authority_without_key_usage",
        ),
    )


def _services() -> Iterator[StatedLine]:
    for uid, operations, shown_by in (
        (GRAYSCALE_META, "N-CREATE, N-SET, N-GET, N-ACTION, N-DELETE, N-EVENT-REPORT", _PRINTED),
        (COLOUR_META, "N-CREATE, N-SET, N-GET, N-ACTION, N-DELETE, N-EVENT-REPORT", _COLOUR),
        (FILM_SESSION, "N-CREATE, N-ACTION, N-DELETE", _SESSION),
        (FILM_BOX, "N-CREATE, N-ACTION, N-DELETE", _PRINTED),
        (GRAYSCALE_BOX, "N-SET", _PRINTED),
        (COLOUR_BOX, "N-SET", _COLOUR),
        (PRINTER, "N-GET, N-EVENT-REPORT", _STATUS),
        (PRINT_JOB, "N-GET, N-EVENT-REPORT", _JOB),
        (PRESENTATION_LUT, "N-CREATE", _LUT),
        (ANNOTATION_BOX, "N-SET", _DENSITIES),
        (VERIFICATION, "C-ECHO", _ECHOED),
    ):
        service = "Verification" if uid == VERIFICATION else _SERVICE
        yield line("services", service, name_of(uid), uid, "SCU", operations, shown_by=shown_by)


def _proposals() -> Iterator[StatedLine]:
    plain = ", ".join(map(name_of, SYNTAXES))
    for uid, activity, shown_by in (
        (GRAYSCALE_META, "Print in grey", _PRINTED),
        (COLOUR_META, "Print in colour", _COLOUR),
        (PRINT_JOB, "Print, but to printers of the meta class alone", _META_ONLY),
        (PRESENTATION_LUT, "Print, where the printer applies one", _LUT),
        (ANNOTATION_BOX, "Print with annotations", _DENSITIES),
    ):
        about = (activity, name_of(uid), uid, plain, "SCU")
        yield line("proposals", *about, shown_by=shown_by)
    echo = ("Echo to a printer", name_of(VERIFICATION), VERIFICATION)
    implicit = name_of(IMPLICIT_VR_LITTLE_ENDIAN)
    yield line("proposals", *echo, implicit, "SCU", shown_by=_ECHOED)


def _attributes() -> Iterator[StatedLine]:
    """Yield what a printer is told, as it is made of an order that asks for everything."""
    profile = profiles()[_PROFILE]
    everything = FilmOrder.model_validate(
        {
            "copies": 2,
            "medium": (profile.media or ("BLUE FILM",))[0],
            "film_destination": "MAGAZINE",
            "print_priority": "HIGH",
            "magnification": "CUBIC",
            "trim": True,
            "density": {"min": 20, "max": 300, "border": "BLACK", "empty": "BLACK"},
        }
    )
    shape = everything.model_copy(
        update={
            "presentation_lut": everything.presentation_lut.model_copy(update={"shape": "LIN OD"})
        }
    )
    told = plan(shape, profile.model_copy(update={"film_destinations": ("MAGAZINE",)}), images=1)
    notes = Dataset()
    notes.AnnotationPosition, notes.TextString = 1, "1"
    told.film_box.AnnotationDisplayFormatID = "LABEL"
    for uid, operation, data_set, shown_by in (
        (FILM_SESSION, "N-CREATE", told.session, _SESSION),
        (FILM_BOX, "N-CREATE", told.film_box, _PRINTED),
        (GRAYSCALE_BOX, "N-SET", _image(told.image_box, colour=False), _PRINTED),
        (COLOUR_BOX, "N-SET", _image(told.image_box, colour=True), _COLOUR),
        (PRESENTATION_LUT, "N-CREATE", told.lut or Dataset(), _LUT),
        (ANNOTATION_BOX, "N-SET", notes, _DENSITIES),
    ):
        yield from _told(uid, operation, data_set, shown_by)


def _image(box: Dataset, *, colour: bool) -> Dataset:
    made = Dataset()
    made.update(box)
    made.ImageBoxPosition = 1
    pixels = np.zeros((1, 1, 3) if colour else (1, 1), "u1")
    item = pixel_item(Bitmap(1, pixels, 8))
    if colour:
        made.BasicColorImageSequence = [item]
    else:
        made.BasicGrayscaleImageSequence = [item]
    return made


def _told(
    uid: str, operation: str, data_set: Dataset, shown_by: str, above: tuple[str, ...] = ("", "")
) -> Iterator[StatedLine]:
    for element in data_set:
        name, tag, vr = attribute(element.keyword)
        path = (f"{above[0]}{name}", f"{above[1]}{tag}")
        value = (
            str(element.value) if name in _FIXED and not isinstance(element.value, bytes) else ""
        )
        if vr == "SQ":
            for item in element.value:
                under = (f"{path[0]} > ", f"{path[1]} > ")
                yield from _told(uid, operation, item, shown_by, under)
            continue
        said = value or "as asked for, or as the printer's profile has it"
        if name == "PixelData":
            said = "8 or 12 bits of the composed film"
        yield line("print", name_of(uid), operation, *path, said, shown_by=_shown(name, shown_by))


def _shown(name: str, shown_by: str) -> str:
    densities = ("MinDensity", "MaxDensity", "AnnotationDisplayFormatID")
    session = ("BorderDensity", "Trim", "MagnificationType")
    return _DENSITIES if name in densities else _SESSION if name in session else shown_by


def _statuses() -> Iterator[StatedLine]:
    for status, said in _SEEN:
        if status == 0:
            done = "it goes on"
        elif is_warning(status):
            done = "it goes on; what was said is kept and shown"
        elif is_transient(status):
            done = f"the job is tried again: {in_words(status)[6:]}"
        else:
            done = f"the job has failed: {in_words(status)[6:]}"
        yield line("heeded", "print management", said, done, shown_by=_MEANS)
