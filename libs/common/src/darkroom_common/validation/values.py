"""Judges the value of each element by its VR (PS3.5 section 6.2) and its VM (PS3.6)."""

import re
from collections.abc import Callable
from typing import Final

from darkroom_common.dicom.heads import UNDEFINED
from darkroom_common.validation.content import (
    BINARY,
    CODED,
    STRINGS,
    TEXTS,
    Element,
    Item,
    decoded,
    dictionary,
    readable,
)
from darkroom_common.validation.findings import ROOT, At, Findings, Kind, Place, Severity

_VRS: Final = "PS3.5 6.2"
_SIZES: Final = {
    "US": 2,
    "SS": 2,
    "UL": 4,
    "SL": 4,
    "FL": 4,
    "FD": 8,
    "UV": 8,
    "SV": 8,
    "AT": 4,
} | {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}
_LONGEST: Final = {"AE": 16, "CS": 16, "DS": 16, "IS": 12, "LO": 64, "SH": 16, "UI": 64} | {
    "LT": 10240,
    "ST": 1024,
    "DT": 26,
    "TM": 14,
    "AS": 4,
    "DA": 8,
}
_PN_GROUPS: Final = 3
_PN_COMPONENTS: Final = 5
_PN_LONGEST: Final = 64
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_WHOLE: Final = re.compile(r"[+-]?\d+")
_TIME: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d|60)(\.\d{1,6})?|[0-5]\d)?")
_MOMENT: Final = re.compile(
    r"\d{4}((0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])"
    r"(([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?)?)?)?([+-](0\d|1[0-4])[0-5]\d)?"
)
_CONTROL: Final = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f]")
_CONTROL_IN_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")
_SECONDS: Final = frozenset(map(str, range(40)))
"""Second components below the roots 0 and 1 (X.660)."""
_NO_CLAIMS: Final = frozenset({"UN", "OB", "OW", "OL", "OF", "OD", "OV", "SQ"})


def date(value: str) -> bool:
    """Tell whether a value is a date of DA."""
    if not re.fullmatch(r"\d{8}", value):
        return False
    month, day = int(value[4:6]), int(value[6:])
    return 1 <= month <= len(_DAYS) and 1 <= day <= _DAYS[month - 1]


def uid(value: str) -> bool:
    """Tell whether a value is a UID (PS3.5 chapter 9)."""
    if not _UID.fullmatch(value) or set(value) <= {"0", "."}:
        return False
    root, _, rest = value.partition(".")
    second = rest.partition(".")[0]
    if len(root) > 1 or root not in "012":
        return False
    return root == "2" or not second or second in _SECONDS


_FORMS: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "AS": (re.compile(r"\d{3}[DWMY]").fullmatch, "An age is not nnnD, nnnW, nnnM or nnnY."),
    "CS": (re.compile(r"[A-Z0-9 _]*").fullmatch, "A code string has other characters than it may."),
    "DA": (date, "A date is not YYYYMMDD."),
    "DS": (_NUMBER.fullmatch, "A decimal string is no number."),
    "DT": (_MOMENT.fullmatch, "A date and time is not YYYYMMDDHHMMSS.FFFFFF&ZZXX."),
    "IS": (_WHOLE.fullmatch, "An integer string is no whole number."),
    "TM": (_TIME.fullmatch, "A time is not HHMMSS.FFFFFF."),
    "UI": (uid, "A UID is not made as UIDs are."),
}


class Values:
    """Judges every element of an object."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.unread = 0
        """Values that were too long to be read."""

    def check(self, item: Item, place: Place = ROOT) -> None:
        """Judge the elements of a data set or item, and those in its sequences."""
        previous = -1
        for tag, element in item.elements.items():
            if tag <= previous:
                self._findings.add(
                    Kind.STRUCTURE, "An element is out of order.", _at(element, place, "PS3.5 7.1")
                )
            previous = tag
            self._element(element, item, place)
            for number, below in enumerate(element.items or (), 1):
                self.check(below, place.within(tag, number))

    def _element(self, element: Element, item: Item, place: Place) -> None:
        self._vr(element, place)
        if element.length != UNDEFINED and element.length % 2:
            self._findings.add(
                Kind.LENGTH, "The length of a value is odd.", _at(element, place, "PS3.5 7.1")
            )
        if element.raw is None:
            self.unread += element.items is None
            return
        size = _SIZES.get(element.vr, 1)
        if len(element.raw) % size:
            self._findings.add(
                Kind.LENGTH, "A value has not the length of its VR.", _at(element, place)
            )
        elif element.vr in STRINGS and element.raw:
            self._string(element, item, place)
        if element.raw:
            self._multiplicity(element, item, place)

    def _vr(self, element: Element, place: Place) -> None:
        known = dictionary(element.tag)
        if not element.tag & 0xFFFF or known is None or not element.written:
            return
        if element.written not in known[0].split(" or ") and element.written != "UN":
            text = "An element has another VR than the dictionary says."
            self._findings.add(Kind.VR, text, _at(element, place, "PS3.6 6"))

    def _multiplicity(self, element: Element, item: Item, place: Place) -> None:
        known = dictionary(element.tag)
        if known is None or element.vr in _NO_CLAIMS or element.vr in TEXTS:
            return
        if element.vr in BINARY or element.vr == "AT":
            count = len(element.raw or b"") // _SIZES[element.vr]
        else:
            count = len(decoded(element, item.text))
        if not _is_count(count, known[1]):
            text = "An element has more or fewer values than the dictionary says."
            self._findings.add(Kind.MULTIPLICITY, text, _at(element, place, "PS3.6 6"))

    def _string(self, element: Element, item: Item, place: Place) -> None:
        raw, vr = element.raw or b"", element.vr
        padding = b"\0" if vr == "UI" else b" "
        body = raw[:-1] if raw.endswith((b"\0", b" ")) else raw
        if body != raw and not raw.endswith(padding):
            self._findings.add(
                Kind.FORMAT, "A value is padded with the wrong character.", _at(element, place)
            )
        if vr in CODED and not self._is_in_repertoire(raw, vr, item):
            text = "A value has characters that its character set does not have."
            self._findings.add(Kind.REPERTOIRE, text, _at(element, place, "PS3.3 C.12.1.1.2"))
        elif vr not in CODED and not raw.isascii():
            text = "A value has characters beyond the default repertoire."
            self._findings.add(Kind.REPERTOIRE, text, _at(element, place))
        said = readable(body, vr, item.text)
        parts = [said] if vr in TEXTS else said.split("\\")
        controls = _CONTROL_IN_TEXT if vr in ("LT", "ST", "UT") else _CONTROL
        for part in parts:
            self._one(part, element, place, controls)

    def _one(self, part: str, element: Element, place: Place, controls: re.Pattern[str]) -> None:
        vr = element.vr
        stripped = part if vr in ("UI", "AS", "DA") else part.strip(" ") if vr != "UT" else part
        if controls.search(part.rstrip("\0")):
            self._findings.add(
                Kind.REPERTOIRE, "A value has control characters.", _at(element, place)
            )
        elif "\t" in part:
            text = "A value has tabulators, which older editions do not know."
            self._findings.add(
                Kind.REPERTOIRE, text, _at(element, place, "PS3.5 6.1.3"), Severity.WARNING
            )
        if vr == "PN":
            self._name(stripped, element, place)
        elif len(stripped) > _LONGEST.get(vr, len(stripped)):
            text = "A value is longer than its VR allows."
            self._findings.add(Kind.LENGTH, text, _at(element, place))
        form = _FORMS.get(vr)
        if form is not None and stripped.strip("\0 ") and not form[0](stripped.rstrip("\0")):
            self._findings.add(Kind.FORMAT, form[1], _at(element, place))

    def _name(self, name: str, element: Element, place: Place) -> None:
        groups = name.split("=")
        if len(groups) > _PN_GROUPS or any(
            group.count("^") >= _PN_COMPONENTS or len(group) > _PN_LONGEST for group in groups
        ):
            self._findings.add(
                Kind.FORMAT, "A person's name has too many parts.", _at(element, place)
            )

    @staticmethod
    def _is_in_repertoire(raw: bytes, vr: str, item: Item) -> bool:
        try:
            item.text.strict(raw, vr)
        except ValueError:
            return False
        return True


def _at(element: Element, place: Place, section: str = _VRS) -> At:
    return At(element.tag, section, place=place)


def _is_count(count: int, multiplicity: str) -> bool:
    """Tell whether so many values are what a VM such as 1, 1-3, 1-n or 2-2n allows."""
    for choice in multiplicity.split(" or "):
        least, dash, most = choice.partition("-")
        step = int(most.removesuffix("n") or 1) if most.endswith("n") else 1
        if not dash:
            if count == int(least):
                return True
        elif most.endswith("n"):
            if count >= int(least) and not count % step:
                return True
        elif int(least) <= count <= int(most):
            return True
    return False
