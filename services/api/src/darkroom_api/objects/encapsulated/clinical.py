"""Looks into clinical documents (HL7 CDA), in a worker: who they are, and that they are whole."""

from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from darkroom_api.objects.pictures import NoPicture

_HL7: Final = "urn:hl7-org:v3"
_ROOT: Final = f"{_HL7} ClinicalDocument"
_DEEPEST: Final = 100
_MOST: Final = 1_000_000
"""Elements."""


@dataclass
class ClinicalDocument:
    """What a clinical document says of itself.

    Attributes:
        instance: its identifier as HL7 Instance Identifier (0040,E001): root^extension.
        title: its first 64 characters; empty: it has none.
    """

    instance: str = ""
    title: str = ""
    _path: list[str] = field(default_factory=list)
    _count: int = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take the beginning of an element."""
        self._count += 1
        if not self._path and name != _ROOT:
            raise NoPicture("It is no clinical document (CDA).")
        if len(self._path) >= _DEEPEST or self._count > _MOST:
            raise NoPicture("The clinical document has too many elements within one another.")
        self._path.append(name)
        if self._path == [_ROOT, f"{_HL7} id"] and not self.instance:
            root, extension = attributes.get("root", ""), attributes.get("extension", "")
            self.instance = f"{root}^{extension}" if extension else root

    def end(self, _: str) -> None:
        """Take the end of an element."""
        self._path.pop()

    def text(self, text: str) -> None:
        """Take characters."""
        if self._path == [_ROOT, f"{_HL7} title"]:
            self.title += text


def look(body: bytes) -> ClinicalDocument:
    """Return what a clinical document says of itself. No DTD and no entity is taken.

    Raises:
        NoPicture: it is none, is damaged, or has no identifier.
    """

    def refuse(*_: object) -> None:
        raise NoPicture("A clinical document has no document type declaration.")

    found = ClinicalDocument()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    parser.CharacterDataHandler = found.text
    try:
        parser.Parse(body, *(True,))
    except (expat.ExpatError, LookupError, ValueError):
        raise NoPicture("The clinical document is damaged.") from None
    if not found.instance:
        raise NoPicture("The clinical document has no id.")
    found.title = " ".join(found.title.split()).replace("\\", "/")[:64]
    return found
