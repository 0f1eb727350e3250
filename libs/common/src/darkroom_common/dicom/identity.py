"""Who an object is: the few identifiers that receiving needs, read by the walk alone."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from pydantic import Base64Bytes

from darkroom_common.dicom.heads import DEFLATED, Encoding
from darkroom_common.dicom.inflate import Inflater
from darkroom_common.dicom.limits import DEFAULT_LIMITS, ReadLimits
from darkroom_common.dicom.walk import TRAILING_PADDING, Unreadable, Walker

_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
_PATIENT_ID: Final = 0x00100020
_ISSUER: Final = 0x00100021
_STUDY: Final = 0x0020000D
_SERIES: Final = 0x0020000E
_WANTED: Final = frozenset({_SOP_CLASS, _SOP_INSTANCE, _PATIENT_ID, _ISSUER, _STUDY, _SERIES})
_UIDS: Final = frozenset({_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES})
_CONFORMANT: Final = re.compile(r"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+$")
_FORBIDDEN: Final = re.compile(r"[\x00-\x20/\\\x7f-\xff]")
UID_LIMIT: Final = 64
LONGEST_UID: Final = 128
"""Characters of a UID that are taken all the same."""
NONCONFORMANT_UID: Final = "nonconformant-uid"
"""Flag of an object with a UID that PS3.5 section 9.1 forbids."""
ODD_LENGTH: Final = "odd-length"
"""Flag of a data set of an odd number of bytes, against PS3.5 section 7.1.1."""


@dataclass(frozen=True)
class Identity:
    """The identifiers of a data set. Study and series are derived when the data set has none."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_key: Base64Bytes
    """Issuer and id of the patient as received, in whatever character set; b"" when the data set
    has no id. It is PHI."""
    flags: tuple[str, ...]


def is_conformant(uid: str) -> bool:
    """Tell whether a UID follows PS3.5 section 9.1."""
    return len(uid) <= UID_LIMIT and _CONFORMANT.match(uid) is not None


def derived_uid(*parts: str) -> str:
    """Return a UID under 2.25 (PS3.5 annex B.2) that is always the same for the same parts."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _uid(raw: bytes, position: int) -> str:
    text = raw.decode("latin-1").strip("\x00 ")
    if len(text) > LONGEST_UID or _FORBIDDEN.search(text):
        raise Unreadable("bad-uid", position)
    return text


class IdentityReader:
    """Reads who an object is from its bytes as they arrive: `feed` them in order, then `finish`.

    Args:
        transfer_syntax_uid: how the data set is encoded, PS3.5 annex A.
        limits: bounds on what is read.
    """

    def __init__(self, transfer_syntax_uid: str, limits: ReadLimits = DEFAULT_LIMITS) -> None:
        encoding = Encoding.of(transfer_syntax_uid)
        self._walker = Walker(encoding, wanted=_WANTED, limits=limits)
        self._inflater = (
            Inflater(limits.inflated_bytes) if transfer_syntax_uid in DEFLATED else None
        )
        self._size = 0
        self.is_padded = False
        """After `finish`: whether the last octet is the padding of the message, not of it."""

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the data set as received, without file meta.

        Raises:
            Unreadable: it cannot be a data set; nothing may be fed after that.
        """
        self._size += len(data)
        if self._inflater is None:
            self._walker.feed(data)
        else:
            for chunk in self._inflater.feed(data):
                self._walker.feed(chunk)

    def finish(self) -> Identity:
        """Return who it is, after the last byte.

        Raises:
            Unreadable: it is not a whole data set, or a UID in it can be none.
        """
        if self._inflater is not None:
            self._inflater.finish()
        padding = self._walker.finish()
        is_odd = bool(self._size % 2) and self._inflater is None
        if padding == 1 and not is_odd and self._inflater is None:
            self.is_padded = is_odd = True
            self._walker.oddities.discard(TRAILING_PADDING)
        return self._identity((ODD_LENGTH,) if is_odd else ())

    def found(self) -> Identity:
        """Return who it is by what was read so far, of a data set that need not be whole.

        Raises:
            Unreadable: there was no UID of it, or one that can be none.
        """
        return self._identity(("released-as-it-is",))

    def _identity(self, given: tuple[str, ...]) -> Identity:
        found = self._walker.values
        sop_class = _uid(*found.get(_SOP_CLASS, (b"", 0)))
        sop_instance = _uid(*found.get(_SOP_INSTANCE, (b"", 0)))
        if not sop_instance or not sop_class:
            raise Unreadable("no-sop-uid", 0)
        study = _uid(*found.get(_STUDY, (b"", 0)))
        series = _uid(*found.get(_SERIES, (b"", 0)))
        flags = [*given, *sorted(self._walker.oddities)]
        if not study:
            study = derived_uid("study", series or sop_instance)
            flags.append("study-uid-derived")
        if not series:
            series = derived_uid("series", study)
            flags.append("series-uid-derived")
        leading = any(found[tag][0].startswith(b" ") for tag in _UIDS & found.keys())
        if leading or not all(map(is_conformant, (sop_class, sop_instance, study, series))):
            flags.append(NONCONFORMANT_UID)
        patient = found.get(_PATIENT_ID, (b"", 0))[0].strip(b" \x00")
        issuer = found.get(_ISSUER, (b"", 0))[0].strip(b" \x00")
        key = issuer + b"\x1f" + patient if patient else b""
        return Identity(sop_class, sop_instance, study, series, key, tuple(flags))


def read_identity(
    data: bytes | memoryview, transfer_syntax_uid: str, limits: ReadLimits = DEFAULT_LIMITS
) -> Identity:
    """Walk a whole data set that is in memory and return who it is.

    Raises:
        Unreadable: it is not a whole data set, or a UID in it can be none.
    """
    reader = IdentityReader(transfer_syntax_uid, limits)
    reader.feed(data)
    return reader.finish()
