"""De-identification on the way out: PS3.15 annex E, basic profile and options by name.

What becomes of each attribute is table E.1-1 as dicom-anonymizer carries it. Replacements are made
with a key, one for each destination: the same patient, study and instance get the same pseudonym,
UIDs and shift of dates in every job, and nobody without the key gets back.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from darkroom_common.dicom.charset import TextReader
from darkroom_common.dicom.text_elements import CHARACTER_SET, put_text, read_values
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.specs.deidentification import OPTIONS
from darkroom_transmit.conversion import deidentification_options as options
from darkroom_transmit.conversion.annotation import burned_in

_ACTIONS: Final[Mapping[int, str]] = {
    tag[0] << 16 | tag[1]: action
    for action, tags in (
        ("X", table.X_TAGS),
        ("Z", table.Z_TAGS),
        ("D", table.D_TAGS),
        ("U", table.U_TAGS),
        ("D", table.Z_D_TAGS),
        ("Z", table.X_Z_TAGS),
        ("D", table.X_D_TAGS),
        ("D", table.X_Z_D_TAGS),
        ("I", table.X_Z_U_STAR_TAGS),
    )
    for tag in tags
    if len(tag) == len(("group", "element"))  # longer: a repeating group, see _group_goes
}
"""X remove, Z empty, D dummy, U new UID, I clean the items. Where the table leaves it to the IOD
(X/Z, X/D, X/Z/D, Z/D), the choice that suits every type of the attribute."""

_PATIENT_NAME: Final = 0x00100010
_PATIENT_ID: Final = 0x00100020
_IDENTIFIERS: Final = (
    _PATIENT_NAME,
    _PATIENT_ID,
    0x00080050,
    0x00080090,
    0x00081048,
    0x00081050,
    0x00081060,
    0x00081070,
    0x00100030,
    0x00101000,
    0x00101001,
    0x00101005,
    0x00101060,
    0x00101040,
    0x00102154,
    0x00321032,
    0x00402016,
    0x00402017,
)
"""Whose values are looked for in every text that stays."""
_KEPT: Final = {
    "retain-device-identity": options.DEVICE,
    "retain-institution-identity": options.INSTITUTION,
    "retain-patient-characteristics": options.CHARACTERISTICS,
}
_CLEANED: Final = {
    "clean-descriptors": options.DESCRIPTORS,
    "retain-patient-characteristics": options.CHARACTERISTICS_IN_WORDS,
}
_DOCUMENT: Final = 0x00420011
_BIRTHS: Final = frozenset({0x00100030, 0x00100032})
_TYPE_1: Final = frozenset({0x00700082, 0x00700083})
"""Moments that their IODs need (PS3.3 section C.11.10): what would be removed is replaced."""
_TEMPORAL: Final = frozenset({"DA", "DT", "TM"})
_TEXT: Final = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "PN", "AE", "UR"})
_DUMMIES: Final[Mapping[str, Any]] = {
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "AS": "000Y",
    "DS": "0",
    "IS": "0",
    "UR": "http://removed.invalid",
    "CS": "REMOVED",
    "OB": bytes(2),
    "UN": bytes(2),
    **dict.fromkeys(("FD", "FL", "SS", "US", "SL", "UL", "SV", "UV"), 0),
}
_DUMMY: Final = "REMOVED"
_OVERLAYS: Final = range(0x6000, 0x6100)
_CURVES: Final = range(0x5000, 0x5100)
_SHORTEST: Final = 4
"""Bytes of an identifier in UTF-8 that is looked for; shorter ones are parts of common words."""
_LONG_NUMBER: Final = re.compile(r"\d{5,}|\d{1,4}[./-]\d{1,2}[./-]\d{1,4}")
_PARTS: Final = re.compile(r"[\^=\\\s,;]+")
_OLDEST: Final = "090Y"


@dataclass(frozen=True)
class Deidentification:
    """How objects are de-identified for one destination.

    Attributes:
        options: names of `OPTIONS`.
        key: of this destination's pseudonyms; 32 bytes.
    """

    options: frozenset[str]
    key: bytes

    def edit(self, dataset: Dataset) -> None:
        """De-identify an object, all levels of it.

        Raises:
            Unconvertible: it may show identity in its pixels, or is a document.
        """
        why = burned_in(dataset)
        if why and "allow-burned-in" not in self.options:
            raise Unconvertible(f"identity may be burned in: {why}")
        if _DOCUMENT in dataset:
            raise Unconvertible("an encapsulated document cannot be de-identified")
        _Edit(self, dataset).run()


def keyed_uid(key: bytes, uid: str) -> str:
    """Return the UID that stands for another: an UUID (version 8) under 2.25, PS3.5 annex B.2."""
    raw = bytearray(hmac.digest(key, b"uid " + uid.encode(), "sha256")[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(raw, 'big')}"


class _Edit:
    """The de-identification of one object."""

    def __init__(self, how: Deidentification, dataset: Dataset) -> None:
        self._how = how
        self._dataset = dataset
        self._kept = frozenset[int]().union(
            *(tags for option, tags in _KEPT.items() if option in how.options)
        )
        self._cleaned = frozenset[int]().union(
            *(tags for option, tags in _CLEANED.items() if option in how.options)
        )
        self._text = TextReader()
        self._text.declare(_raw(dataset, CHARACTER_SET))
        self._identifiers = frozenset(self._parts())
        patient = b"\0".join(_raw(dataset, tag) for tag in (_PATIENT_ID, 0x00100021))
        if not patient.strip(b"\0 "):
            patient = b"\0".join(_raw(dataset, tag) for tag in (_PATIENT_NAME, 0x00100030))
        if not patient.strip(b"\0 "):
            patient = _raw(dataset, 0x0020000D)  # nobody knows whose it is: each study is its own
        self._pseudonym = f"ANON-{self._digest(b'patient', patient).hex()[:16].upper()}"
        days = int.from_bytes(self._digest(b"days", patient)[:8], "big") % 3650
        self._shift = timedelta(days=-1 - days)

    def _digest(self, purpose: bytes, value: bytes) -> bytes:
        return hmac.digest(self._how.key, purpose + b" " + value, hashlib.sha256)

    def run(self) -> None:
        """Edit the object and say that it was done."""
        dataset = self._dataset
        self._clean(dataset)
        dataset.PatientName = dataset.PatientID = self._pseudonym
        dataset.PatientIdentityRemoved = "YES"
        chosen = [name for name in OPTIONS if name in self._how.options and OPTIONS[name]]
        dataset.DeidentificationMethod = ["Darkroom basic", *chosen]
        dataset.DeidentificationMethodCodeSequence = [
            _code("113100", "Basic Application Confidentiality Profile"),
            *(_code(*OPTIONS[name]) for name in chosen),
        ]
        dataset.LongitudinalTemporalInformationModified = (
            "UNMODIFIED"
            if "retain-full-dates" in chosen
            else "MODIFIED"
            if "retain-modified-dates" in chosen
            else "REMOVED"
        )

    def _parts(self) -> Iterator[str]:
        """Yield the parts of what identifies, case folded."""
        for tag in _IDENTIFIERS:
            said = " ".join(read_values(self._dataset, tag, self._text))
            for part in _PARTS.split(said.casefold()):
                if len(part.encode()) >= _SHORTEST:
                    yield part

    def _clean(self, dataset: Dataset) -> None:
        outer = self._text.current
        if CHARACTER_SET in dataset:
            self._text.declare(_raw(dataset, CHARACTER_SET))
        for tag in list(dataset.keys()):
            if tag.is_private:
                if not self._private_stays(dataset, tag):
                    del dataset[tag]
                continue
            if tag.group in _OVERLAYS or tag.group in _CURVES or not dictionary_has_tag(tag):
                del dataset[tag]
                continue
            element: Any = dataset.get_item(tag)
            vr = element.VR if element.VR not in (None, "UN") else dictionary_VR(tag)
            self._apply(dataset, tag, vr)
        self._text.back_to(outer)

    def _apply(self, dataset: Dataset, tag: BaseTag, vr: str) -> None:
        action = self._action(tag, vr)
        if action == "X":
            del dataset[tag]
        elif action == "Z":
            dataset[tag] = DataElement(tag, vr, [] if vr == "SQ" else None)
        elif vr == "SQ":
            self._clean_items(dataset, tag)
        elif action == "D":
            dataset[tag] = DataElement(tag, vr, _DUMMIES.get(vr, _DUMMY))
        elif action == "U":
            self._replace_uids(dataset, tag)
        else:
            self._keep(dataset, tag, vr, action)

    def _clean_items(self, dataset: Dataset, tag: BaseTag) -> None:
        items = dataset[tag].value
        if isinstance(items, bytes):  # a sequence that cannot be read as one may say anything
            del dataset[tag]
            return
        for item in items:
            self._clean(item)

    def _keep(self, dataset: Dataset, tag: BaseTag, vr: str, action: str) -> None:
        """Keep a value, as far as it tells nothing."""
        if action == "shift":
            self._shift_dates(dataset, tag, vr)
        elif action == "clean":
            self._clean_text(dataset, tag, vr)
        elif action == "age":
            if str(dataset[tag].value).endswith("Y"):
                dataset[tag].value = min(str(dataset[tag].value), _OLDEST)
        elif vr in _TEXT and self._tells(" ".join(read_values(dataset, tag, self._text))):
            dataset[tag] = DataElement(tag, vr, _DUMMY)

    def _moment(self, tag: int, action: str, vr: str) -> str:
        if action == "X" and tag in _TYPE_1:
            action = "D"
        chosen = self._how.options
        if "retain-full-dates" in chosen:
            return "K"
        if "retain-modified-dates" in chosen:
            return "K" if vr == "TM" else "shift"
        return "D" if action == "K" and vr != "TM" else action

    def _action(self, tag: int, vr: str) -> str:
        """Return what to do; K to keep what tells no identifier."""
        action = _ACTIONS.get(tag, "K")
        if vr in _TEMPORAL and tag not in _BIRTHS:
            return self._moment(tag, action, vr)
        if tag in self._kept:
            return "age" if vr == "AS" else "K"
        if tag in self._cleaned and (vr in _TEXT or vr == "SQ"):
            return "clean"
        if action == "U" and "retain-uids" in self._how.options:
            return "K"
        if action == "K" and vr == "PN":
            return "Z"
        return action

    def _replace_uids(self, dataset: Dataset, tag: int) -> None:
        value = dataset[tag].value
        several = value if isinstance(value, MultiValue | list) else [value]
        made = [keyed_uid(self._how.key, str(uid)) if uid else "" for uid in several]
        dataset[tag] = DataElement(tag, "UI", made if len(made) > 1 else made[0])

    def _shift_dates(self, dataset: Dataset, tag: int, vr: str) -> None:
        text = _raw(dataset, tag).decode("latin-1").strip("\0 ")
        try:
            moved = [_moved(part, self._shift) for part in text.split("\\")] if text else []
        except (ValueError, OverflowError):
            dataset[tag] = DataElement(tag, vr, _DUMMIES[vr])
        else:
            dataset[tag] = DataElement(tag, vr, "\\".join(moved))

    def _clean_text(self, dataset: Dataset, tag: int, vr: str) -> None:
        text = " ".join(read_values(dataset, tag, self._text))
        known = [word for word in text.split() if not self._tells(word)]
        cleaned = " ".join(_LONG_NUMBER.sub(" ", " ".join(known)).split())
        if cleaned and cleaned == " ".join(text.split()) and not self._tells(cleaned):
            return  # nothing of it goes: it stays as it is, byte for byte
        if self._tells(cleaned) or not self._encode(dataset, tag, vr, cleaned):
            dataset[tag] = DataElement(tag, vr, _DUMMY)

    def _encode(self, dataset: Dataset, tag: int, vr: str, text: str) -> bool:
        """Put text that is left; tell whether there is any, and it can be said in its set."""
        try:
            put_text(dataset, tag, vr, self._text.current.encode(text, vr))
        except UnicodeEncodeError:
            return False
        return bool(text)

    def _tells(self, value: str) -> bool:
        lower = value.casefold()
        return any(part in lower for part in self._identifiers)

    def _private_stays(self, dataset: Dataset, tag: BaseTag) -> bool:
        if "retain-safe-private" not in self._how.options:
            return False
        if tag.is_private_creator:
            return any(
                creator == _raw(dataset, tag).decode("latin-1").strip() and group == tag.group
                for group, creator in options.SAFE_PRIVATE
            )
        creator = _raw(dataset, tag.group << 16 | tag.element >> 8).decode("latin-1").strip()
        return tag.element & 0xFF in options.SAFE_PRIVATE.get((tag.group, creator), ())


def _raw(dataset: Dataset, tag: int) -> bytes:
    """Return the value of a text element as bytes; empty without."""
    if tag not in dataset:
        return b""
    element: Any = dataset.get_item(tag)
    if element.is_raw:
        return bytes(element.value or b"")
    value = element.value
    if isinstance(value, bytes):
        return value
    if isinstance(value, MultiValue | list):
        return "\\".join(map(str, value)).encode("utf-8", "replace")
    return str("" if value is None else value).encode("utf-8", "replace")


def _moved(text: str, shift: timedelta) -> str:
    """Return a DA or DT with its day shifted; one that names no day is cut to nothing."""
    compact = text.strip().replace(".", "", 2) if text[4:5] == "." else text.strip()
    if len(compact) < len("YYYYMMDD"):
        raise ValueError("it names no day")
    day = date(int(compact[:4]), int(compact[4:6]), int(compact[6:8])) + shift
    return f"{day:%Y%m%d}".rjust(8, "0") + compact[8:]


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
