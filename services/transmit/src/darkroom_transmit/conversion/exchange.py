"""What the service and its conversion workers say to each other; nothing here reads objects."""

import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from darkroom_common.errors import PermanentError

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
NATIVE_TARGETS: Final = (EXPLICIT, IMPLICIT)


class Unconvertible(PermanentError):
    """An object cannot be made into what was asked for. The text has no PHI."""


class Profile(NamedTuple):
    """A profile of de-identification as it goes to a worker: through a pipe, never an argument."""

    options: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class Converted:
    """A file that was made to be sent.

    Attributes:
        path: a DICOM file with preamble and file meta.
        offset: of the data set in it.
        size: of the file.
        left_out: tags of elements that cannot be said in it, as 8 hexadecimal digits.
    """

    path: Path
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    offset: int
    size: int
    left_out: tuple[str, ...] = ()


def destination_key(secret: bytes, destination: str) -> bytes:
    """Return the key of the pseudonyms of one destination."""
    return hmac.digest(secret, f"darkroom deidentify {destination}".encode(), "sha256")
