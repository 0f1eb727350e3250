"""Native DICOM Model XML (PS3.19 annex A.1) as DICOM JSON. No DTD, no entity is taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat

from darkroom_ingest.stow.encoding import DEPTH, Unsayable

_ROOT: Final = "NativeDicomModel"
_MOST: Final = 3 * DEPTH
_NAME_PARTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_GROUPS: Final = frozenset({"Alphabetic", "Ideographic", "Phonetic"})
_TEXTS: Final = frozenset({"Value", "InlineBinary", *_NAME_PARTS})
_NUMBERS: Final = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV", "DS", "IS"})


@dataclass
class _Node:
    """An element of XML that is open."""

    name: str
    attributes: Mapping[str, str]
    elements: dict[str, Any] = field(default_factory=dict)
    """Of a data set or item."""
    element: dict[str, Any] = field(default_factory=dict)
    """Of an attribute of DICOM."""
    values: list[Any] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)
    """Of a person's name, or of one group of it."""
    text: list[str] = field(default_factory=list)


class NativeXml:
    """Reads one document as it comes: `feed` it, then `finish`."""

    def __init__(self) -> None:
        self._open: list[_Node] = []
        self._found: dict[str, Any] | None = None
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Take the next bytes.

        Raises:
            Unsayable: it is no such document.
        """
        try:
            self._parser.Parse(data, last)
        except (expat.ExpatError, LookupError, ValueError) as error:  # of its encoding, too
            raise Unsayable("bad-xml") from error

    def finish(self) -> dict[str, Any]:
        """Return the data set as DICOM JSON, after the last byte.

        Raises:
            Unsayable: it is no such document.
        """
        self.feed(b"", last=True)
        if self._found is None:
            raise Unsayable("bad-xml")
        return self._found

    @staticmethod
    def _refuse(*_: object) -> None:
        raise Unsayable("document-type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if (not self._open) != (local == _ROOT) or len(self._open) > _MOST:
            raise Unsayable("bad-xml")
        self._open.append(_Node(local, attributes))

    def _text(self, text: str) -> None:
        if self._open and self._open[-1].name in _TEXTS:
            self._open[-1].text.append(text)

    def _end(self, _: str) -> None:
        node = self._open.pop()
        if not self._open:
            self._found = node.elements
            return
        above, text = self._open[-1], "".join(node.text)
        match node.name:
            case "DicomAttribute":
                self._attribute(above, node)
            case "Item" | "Value" | "PersonName":
                _put(above.values, node, self._value(above, node, text))
            case "InlineBinary":
                above.element["InlineBinary"] = "".join(text.split())
            case "BulkData":
                said = node.attributes
                above.element["BulkDataURI"] = said.get("uri") or said.get("uuid", "")
            case group if group in _GROUPS:
                name = "^".join(node.parts.get(part, "") for part in _NAME_PARTS).rstrip("^")
                above.parts[group] = name
            case part if part in _NAME_PARTS:
                above.parts[part] = text
            case _:
                raise Unsayable("bad-xml")

    @staticmethod
    def _attribute(above: _Node, node: _Node) -> None:
        vr = node.attributes.get("vr", "")
        if node.values:
            node.element["Value"] = node.values
        above.elements[node.attributes.get("tag", "")] = {"vr": vr, **node.element}

    @staticmethod
    def _value(above: _Node, node: _Node, text: str) -> Any:
        if node.name == "Item":
            return node.elements
        if node.name == "PersonName":
            return node.parts
        return text.strip() if above.attributes.get("vr") in _NUMBERS else text or None


def _put(values: list[Any], node: _Node, value: Any) -> None:
    """Put a value where its number says; what is left out between is empty."""
    try:
        number = int(node.attributes.get("number", len(values) + 1))
    except ValueError:
        number = 0
    if not len(values) < number <= len(values) + 1000:
        raise Unsayable("bad-xml")
    values += [None] * (number - 1 - len(values))
    values.append(value)
