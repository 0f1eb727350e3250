"""What a dropped file says: a worklist file of DICOM, entries as REST takes them, or HL7."""

import re
import struct
from collections.abc import Iterator
from typing import Any, Final

import orjson
from pydantic import ValidationError
from pydicom.dataset import Dataset

from darkroom_common.dicom.json_model import to_json
from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.dimse.wire.association_items import IMPLICIT_VR_LITTLE_ENDIAN
from darkroom_common.dimse.wire.data_set import EXPLICIT_VR_LITTLE_ENDIAN, SYNTAXES, decode_data_set
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.errors import PermanentError
from darkroom_common.specs.base import as_spec, strict
from darkroom_common.specs.worklist.entries import WorklistEntry
from darkroom_ingest.orders.mapping import Schedule
from darkroom_ingest.worklist.attributes import STEPS
from darkroom_ingest.worklist.given import entry_of

MOST: Final = 1000
"""Entries, or messages, of one file."""
_BATCH: Final = re.compile(rb"[\r\n]+(?=MSH[^A-Za-z0-9\s])")
_ENVELOPE: Final = re.compile(rb"(?m)^(?:FHS|BHS|BTS|FTS)[^\r\n]*[\r\n]*")
_GIVEN: Final = strict(WorklistEntry)


class BadFile(PermanentError):
    """A file cannot be taken. The text names fields, never values."""


def read_entries(raw: bytes) -> list[Schedule]:
    """Return the entries of a JSON text: one object, or a list of them, as REST takes them.

    Raises:
        BadFile: it has none, or one is wrong.
    """
    try:
        given = orjson.loads(raw)
    except ValueError as error:
        raise BadFile("this is no JSON") from error
    return [Schedule(_entry(one), new=True) for one in _several(given)]


def read_worklist_file(raw: bytes) -> list[Schedule]:
    """Return the entries of a worklist file (`wlmscpfs`): one of each item of (0040,0100).

    Raises:
        BadFile: it has none, or one is wrong.
    """
    try:
        found = to_json(_data_set(raw))
    except (ProtocolError, ValueError, struct.error) as error:
        raise BadFile("this is no data set") from error
    items = found.get(STEPS, {}).get("Value", [])
    if not items:
        raise BadFile("it has no item of ScheduledProcedureStepSequence")
    return [Schedule(_read(found, item), new=True) for item in _several(items)]


def _data_set(raw: bytes) -> Dataset:
    """Return a data set with the header of PS3.10, or, as older programs write it, without one."""
    syntax = EXPLICIT_VR_LITTLE_ENDIAN if raw[4:6].isupper() else IMPLICIT_VR_LITTLE_ENDIAN
    begin = 0
    if raw[128:132] == b"DICM":
        begin = 144 + int(struct.unpack_from("<L", raw, 140)[0])  # behind (0002,0000)
        meta = decode_data_set(raw[132:begin], EXPLICIT_VR_LITTLE_ENDIAN)
        syntax = str(meta.get("TransferSyntaxUID", ""))
    if syntax not in SYNTAXES:
        raise BadFile("its transfer syntax is not that of a worklist file")
    return decode_data_set(raw[begin:], syntax)


def read_messages(raw: bytes) -> list[bytes]:
    """Return the messages of a file, without what frames them as a batch.

    Raises:
        BadFile: it has none.
    """
    text = _ENVELOPE.sub(b"", raw.strip(b"\x0b\x1c\r\n \xef\xbb\xbf"))
    return list(_several([one for one in _BATCH.split(text) if one.strip(b"\r\n \x0b\x1c")]))


def _several(given: Any) -> Iterator[Any]:
    listed = given if isinstance(given, list) else [given]
    if not 1 <= len(listed) <= MOST:
        raise BadFile(f"it has {len(listed)} entries")
    yield from listed


def _read(found: JsonDataset, item: JsonDataset) -> WorklistEntry:
    return _entry(entry_of(found, item))


def _entry(given: Any) -> WorklistEntry:
    try:
        return as_spec(WorklistEntry, _GIVEN.model_validate(given))
    except ValidationError as error:
        listed = error.errors(include_input=False, include_url=False, include_context=False)
        wrong = (f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in listed[:10])
        raise BadFile("; ".join(wrong)) from None
