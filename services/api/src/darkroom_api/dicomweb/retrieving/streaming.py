"""Bodies of objects, made from the store chunk by chunk."""

from collections.abc import AsyncIterator
from typing import Final

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
