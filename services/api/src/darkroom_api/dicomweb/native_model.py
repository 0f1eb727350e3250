"""The Native DICOM Model: DICOM JSON as XML (PS3.19 section A.1, PS3.18 section F.2)."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from pydicom.datadict import keyword_for_tag

_HEAD: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"'
    ' xml:space="preserve">'
)
_TAIL: Final = "</NativeDicomModel>"
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_CREATORS: Final = range(0x10, 0x100)
"""Elements of an odd group that name who has reserved a block of it (PS3.5 section 7.8.1)."""


def native_xml(data_set: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return a data set in DICOM JSON as a document of the Native DICOM Model, in UTF-8."""
    return "".join((_HEAD, *_attributes(data_set), _TAIL)).encode()


def _attributes(data_set: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for tag in sorted(data_set):
        element = data_set[tag]
        vr = str(element.get("vr", "UN"))
        creator = _creator(data_set, tag)
        named = f' keyword="{_keyword(tag)}"' if _keyword(tag) else ""
        private = f" privateCreator={quoteattr(_text(creator))}" if creator else ""
        yield f'<DicomAttribute tag="{tag}" vr="{vr}"{named}{private}>'
        yield from _content(vr, element)
        yield "</DicomAttribute>"


def _content(vr: str, element: Mapping[str, Any]) -> Iterator[str]:
    if "BulkDataURI" in element:
        yield f"<BulkData uri={quoteattr(_text(element['BulkDataURI']))}/>"
    elif "InlineBinary" in element:
        yield f"<InlineBinary>{_text(element['InlineBinary'])}</InlineBinary>"
    for number, value in enumerate(element.get("Value", ()), 1):
        if vr == "SQ":
            yield f'<Item number="{number}">'
            yield from _attributes(value or {})
            yield "</Item>"
        elif vr == "PN":
            yield f'<PersonName number="{number}">'
            yield from _groups(value or {})
            yield "</PersonName>"
        elif value is not None:
            yield f'<Value number="{number}">{escape(_text(value))}</Value>'


def _groups(name: Mapping[str, str]) -> Iterator[str]:
    for group in ("Alphabetic", "Ideographic", "Phonetic"):
        parts = name.get(group, "").split("^", len(_COMPONENTS) - 1)
        filled = [
            f"<{component}>{escape(_text(part))}</{component}>"
            for component, part in zip(_COMPONENTS, parts, strict=False)
            if part
        ]
        if filled:
            yield "".join((f"<{group}>", *filled, f"</{group}>"))


def _text(value: object) -> str:
    return _NO_XML.sub("\ufffd", str(value))


def _creator(data_set: Mapping[str, Mapping[str, Any]], tag: str) -> str:
    """Return who has reserved the block of a private element."""
    if int(tag[3], 16) % 2 == 0 or int(tag[4:], 16) < _CREATORS.stop:
        return ""
    values = data_set.get(f"{tag[:4]}00{tag[4:6]}", {}).get("Value", ("",))
    return str(values[0] or "")


@lru_cache(maxsize=8192)
def _keyword(tag: str) -> str:
    return keyword_for_tag(int(tag, 16))
