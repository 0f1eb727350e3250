"""Bodies of objects, made from the store chunk by chunk."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from darkroom_api.dicomweb.multipart import Framing
from darkroom_common.index.rows import StoredInstance
from darkroom_common.objects.store import CHUNK, ObjectStore, StoreUnavailable

DICOM: Final = "application/dicom"


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
