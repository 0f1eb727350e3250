"""Presentation states as the index knows them: which images they are of. Nothing is parsed here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from darkroom_api.http.errors import cannot_be_made
from darkroom_common.index.reader import IndexReader
from darkroom_common.index.rows import StoredInstance

STATES: Final = frozenset(f"1.2.840.10008.5.1.4.1.1.11.{number}" for number in (1, 2, 3))
"""Grayscale, Color and Pseudo-Color Softcopy Presentation State."""
MOST: Final = 500
"""Images of a state that are shown."""
_SERIES: Final = "00081115"
_IMAGES: Final = "00081140"
_UID: Final = "00081155"
_FRAMES: Final = "00081160"


@dataclass(frozen=True)
class Shown:
    """An image that a presentation state is of; frames from 0, None for those it has."""

    one: StoredInstance
    frames: tuple[int, ...] | None


async def images_of(reader: IndexReader, state: StoredInstance) -> list[Shown]:
    """Return the images that a presentation state is of, as far as they are here.

    Raises:
        ApiError: 406, none of them is.
    """
    found: list[Shown] = []
    async for batch in reader.headers([state]):
        for _, header in batch:
            for uid, frames in _references(orjson.loads(header or b"{}")):
                one = await reader.instance(uid) if len(found) < MOST else None
                if one is not None:
                    found.append(Shown(one, frames))
    if not found:
        raise cannot_be_made("none of the images of this presentation state is here")
    return found


def _references(header: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    for series in header.get(_SERIES, {}).get("Value", ()):
        for image in series.get(_IMAGES, {}).get("Value", ()):
            uids = image.get(_UID, {}).get("Value", ())
            frames = image.get(_FRAMES, {}).get("Value", ())
            numbers = tuple(int(one) - 1 for one in frames if int(one) > 0)
            for uid in uids[:1]:
                yield str(uid), numbers or None
