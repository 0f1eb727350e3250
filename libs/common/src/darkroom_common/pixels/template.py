"""Text with placeholders for attributes of an image, e.g. `{PatientName} {StudyDate}`."""

import re
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from darkroom_common.dicom.charset import TextReader
from darkroom_common.dicom.text_elements import CHARACTER_SET, CODED, declared_in, read_values

MAX_VALUE: Final = 200  # characters of one attribute
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z0-9]{1,64})\}")
_NOT_TEXT: Final = frozenset({"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN"})
_DATE: Final = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_TIME: Final = re.compile(r"(\d\d):?(\d\d)(?::?(\d\d))?")


def filled(template: str, dataset: Dataset | None) -> tuple[str, ...]:
    """Return the lines of a template for an image.

    A placeholder is the keyword of an attribute (PS3.6). What is unknown, absent, not text or
    unreadable becomes nothing; a value is at most 200 characters long. Names read
    `Family, Given Middle`, all of their representations in turn; dates and times ISO 8601.

    Args:
        template: lines of text.
        dataset: the image; None fills every placeholder with nothing.
    """
    return tuple(
        _PLACEHOLDER.sub(lambda match: _value(match[1], dataset), line).strip()
        for line in template.splitlines()
    )


def _value(keyword: str, dataset: Dataset | None) -> str:
    tag = tag_for_keyword(keyword)
    if dataset is None or tag is None or dictionary_VR(tag) in _NOT_TEXT:
        return ""
    try:
        parts = _parts(dataset, keyword, tag)
        said = ", ".join(_written(part, dictionary_VR(tag)) for part in parts if part is not None)
    except (ValueError, TypeError, AttributeError):  # an element that is not what its VR says
        return ""
    return said.replace("\n", " ").replace("\r", " ").strip()[:MAX_VALUE]


def _parts(dataset: Dataset, keyword: str, tag: int) -> list[Any]:
    if dictionary_VR(tag) in CODED:
        text = TextReader()
        if CHARACTER_SET in dataset:
            text.declare(declared_in(dataset))
        return [*read_values(dataset, tag, text)]
    value: Any = dataset.get(keyword)
    return list(value) if isinstance(value, list) or hasattr(value, "insert") else [value]


def _written(value: Any, vr: str) -> str:
    match vr:
        case "PN":
            return _name(value)
        case "DA" if found := _DATE.fullmatch(str(value).strip()):
            return "-".join(found.groups())
        case "TM" if found := _TIME.match(str(value).strip()):
            return ":".join(part for part in found.groups() if part)
        case _:
            return str(value).strip()


def _name(value: Any) -> str:
    """Write a person name (PS3.5 section 6.2.1): its component groups, the first one first."""
    groups = str(value).split("=")
    written = (_group(group, number) for number, group in enumerate(groups))
    return " ".join(said for said in written if said)


def _group(group: str, number: int) -> str:
    family, given, middle, prefix, suffix = (
        part.strip() for part in [*group.split("^"), "", "", "", "", ""][:5]
    )
    rest = " ".join(part for part in (prefix, given, middle, suffix) if part)
    if family and rest:
        return f"{family} {rest}" if number else f"{family}, {rest}"
    return family or rest
