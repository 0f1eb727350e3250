"""Bodies of STOW-RS, built as bytes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from darkroom_common.dicom.part10 import FileMeta, encode_head
from tests.support.builders import encode

BOUNDARY = "a-boundary"
DICOM = "application/dicom"
TYPE = f'multipart/related; type="{DICOM}"; boundary={BOUNDARY}'
STORED, FAILED, OTHERS = "00081199", "00081198", "0008119A"


@dataclass(frozen=True)
class Part:
    """One part of a body."""

    content: bytes
    kind: str = DICOM
    fields: Mapping[str, str] = field(default_factory=dict)


def a_file(data_set: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A DICOM file of a data set."""
    return a_head(data_set, syntax) + encode(data_set, syntax)


def a_head(data_set: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The head of such a file."""
    meta = FileMeta(str(data_set.SOPClassUID), str(data_set.SOPInstanceUID), str(syntax))
    return encode_head(meta)


def a_body(parts: Iterable[bytes | Part], boundary: str = BOUNDARY) -> bytes:
    """A multipart body."""
    pieces = []
    for one in parts:
        part = Part(one) if isinstance(one, bytes) else one
        fields = {"Content-Type": part.kind, **part.fields}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        pieces.append(f"--{boundary}\r\n{head}\r\n".encode() + part.content + b"\r\n")
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


def uids(answer: Mapping[str, object], sequence: str = STORED) -> Sequence[str]:
    """The instances that a sequence of an answer names."""
    items = answer.get(sequence, {})
    assert isinstance(items, dict)
    return [item["00081155"]["Value"][0] for item in items.get("Value", [])]


def reasons(answer: Mapping[str, object], sequence: str = FAILED) -> Sequence[int]:
    """The Failure Reasons in a sequence of an answer."""
    items = answer.get(sequence, {})
    assert isinstance(items, dict)
    return [item["00081197"]["Value"][0] for item in items.get("Value", [])]
