"""The bytes of frames, one after the other. Runs in workers."""

from collections.abc import Iterator

from darkroom_api.dicomweb.retrieving.fragments import NoPixels
from darkroom_api.dicomweb.retrieving.pixels import Values
from darkroom_common.dicom.stored import StoredObject


def frame_bytes(stored: StoredObject, values: Values) -> Iterator[bytes]:
    """Yield each of the frames that were found.

    Raises:
        NoPixels: the object is cut.
    """
    if values.places is not None:
        for places in values.places:
            yield b"".join(stored.read(start, length) for start, length in places)
        return
    for length in values.lengths:
        pieces: list[bytes] = []
        left = length
        while left:
            piece = next(values.made, b"")
            if not piece:
                raise NoPixels("the value is cut")
            pieces.append(piece)
            left -= len(piece)
        yield b"".join(pieces)
