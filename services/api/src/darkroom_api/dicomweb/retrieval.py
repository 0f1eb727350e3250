"""Bodies of WADO-RS answers, made from the store chunk by chunk."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

import orjson

from darkroom_api.dicomweb.multipart import Framing
from darkroom_common.index.answer import element, header_json
from darkroom_common.index.reader import IndexReader
from darkroom_common.index.rows import StoredInstance
from darkroom_common.objects.store import CHUNK, ObjectStore, StoreUnavailable

DICOM: Final = "application/dicom"
_UIDS: Final = (b'"00080016":', b'"00080018":', b'"0020000D":', b'"0020000E":')
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
# The end of an element before one of a tag beyond 00083002. Text cannot look like it: its quotes
# are escaped.
_LATER: Final = re.compile(
    rb'\}(?=,"(?:0008(?:300[3-9A-F]|30[1-9A-F].|3[1-9A-F]..|[4-9A-F]...)|00(?:09|[1-9A-F].)....'
    rb'|(?!00)[0-9A-F]{8})":\{"vr")'
)
_RELATIVE: Final = b'"BulkDataURI":"bulkdata/'


def dicom_type(one: StoredInstance) -> str:
    """Return the media type of an instance as stored."""
    return f"{DICOM}; transfer-syntax={one.transfer_syntax_uid}"


def object_chunks(store: ObjectStore, one: StoredInstance) -> AsyncIterator[bytes]:
    """Yield an instance's bytes; see `stored_chunks`."""
    return stored_chunks(store, one.object_key, one.object_size)


async def stored_chunks(store: ObjectStore, key: str, size: int) -> AsyncIterator[bytes]:
    """Yield the bytes of an object of this size.

    Raises:
        ObjectMissing, StoreUnavailable: as the store; and when the object is shorter than indexed.
    """
    left = size
    if left <= CHUNK:
        data = await store.read(key, length=left)
        left -= len(data)
        yield data
    else:
        async for chunk in store.stream(key, length=left):
            left -= len(chunk)
            yield chunk
    if left:
        raise StoreUnavailable("an object is shorter than it was when it was indexed")


def parts_length(instances: Sequence[StoredInstance], framing: Framing) -> int:
    """Return the length of the multipart body of instances."""
    return len(framing.tail) + sum(
        len(framing.head(dicom_type(one), first=number == 0)) + one.object_size
        for number, one in enumerate(instances)
    )


async def object_parts(
    store: ObjectStore, instances: Sequence[StoredInstance], framing: Framing
) -> AsyncIterator[bytes]:
    """Yield the multipart body of instances; no object is held as a whole."""
    for number, one in enumerate(instances):
        yield framing.head(dicom_type(one), first=number == 0)
        async for chunk in object_chunks(store, one):
            yield chunk
    yield framing.tail


def instance_url(base: str, one: StoredInstance) -> str:
    """Return the URL of an instance. UIDs in the index may hold characters that URLs escape."""
    return (
        f"{base}/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
        f"/instances/{one.sop_instance_uid}"
    )


def metadata_of(one: StoredInstance, header: bytes, base: str) -> bytes:
    """Return the metadata of one instance as JSON text: absolute URLs, sorted attributes.

    A header is compact JSON with sorted tags, as the indexer wrote it, so the one attribute that
    is added goes in without parsing the rest, which would take ten times as long.
    """
    if _RELATIVE in header:
        url = instance_url(base, one).encode()
        header = header.replace(_RELATIVE, b'"BulkDataURI":"' + url + b"/bulkdata/")
    if all(uid in header for uid in _UIDS) and b'"00083002":' not in header:
        for place in _LATER.finditer(header):
            before = header[: place.start() + 1]
            structure = _STRING.sub(b"", before)
            if structure.count(b"{") - structure.count(b"}") == 1:  # not inside of a sequence
                added = orjson.dumps(element("UI", one.transfer_syntax_uid))
                after = header[place.start() + 1 :]
                return b"".join((before, b',"00083002":', added, after))
    attributes = header_json(
        orjson.loads(header or b"{}"),
        study=one.study_instance_uid,
        series=one.series_instance_uid,
        sop_class=one.sop_class_uid,
        instance=one.sop_instance_uid,
    )
    attributes["00083002"] = element("UI", one.transfer_syntax_uid)
    return orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)


async def metadata_array(
    reader: IndexReader, instances: Sequence[StoredInstance], base: str
) -> AsyncIterator[bytes]:
    """Yield the JSON array of the instances' metadata, some instances at a time."""
    opening = b"["
    async for batch in reader.headers(instances):
        yield opening + b",".join(metadata_of(one, header, base) for one, header in batch)
        opening = b","
    yield b"]" if opening == b"," else b"[]"
