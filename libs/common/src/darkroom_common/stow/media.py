"""Media types with their parameters (RFC 9110 section 8.3.1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_KIND: Final = re.compile(rf"[ \t]*({_WORD}/{_WORD})[ \t]*")
_PARAMETER: Final = re.compile(
    rf';[ \t]*(?:({_WORD})=(?:"((?:[^"\\]|\\.)*)"|([^;" \t]*)))?[ \t]*', re.DOTALL
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class MediaType:
    """A media type.

    Attributes:
        kind: in lower case: `application/dicom`.
        parameters: by their names in lower case.
    """

    kind: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """Return a parameter; empty when it is not said."""
        return self.parameters.get(name, "")


def parse_media_type(text: str) -> MediaType | None:
    """Return the media type that a field says; None when it says none, or one thing twice."""
    kind = _KIND.match(text)
    if kind is None:
        return None
    at, found = kind.end(), dict[str, str]()
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            return None
        at = parameter.end()
        name, quoted, plain = parameter.groups()
        if name is None:
            continue  # nothing stands between two semicolons
        if name.lower() in found:
            return None
        found[name.lower()] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
    return MediaType(kind[1].lower(), found)
