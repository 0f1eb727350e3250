"""What a job asks for: its order, and the stored objects behind it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from darkroom_common.dicom.charset import Assumed
from darkroom_common.films.fitting import ImageMissing, require_images
from darkroom_common.index.objects import pictures
from darkroom_common.objects.store import ObjectMissing, ObjectStore
from darkroom_common.pixels.window import Window
from darkroom_common.postgres.pool import Connection
from darkroom_common.readers.ingest import read_character_sets
from darkroom_common.specs.films import FilmImage, FilmOrder
from darkroom_print.images.picture import Picture


@dataclass(frozen=True)
class StoredPicture:
    """One frame for one box, in an object of the store."""

    object_key: str
    frame: int
    window: Window | None
    assumed: Assumed


def without_pixels(order: FilmOrder) -> list[str]:
    """Return what there is to say of objects of the study or series that are no images."""
    count = order.without_pixels
    return [f"objects without pixels, which are not on film: {count}"] if count else []


async def find_pictures(
    db: Connection, order: FilmOrder, images: Sequence[FilmImage]
) -> list[StoredPicture]:
    """Return where the images are and how they are shown.

    Raises:
        ImageMissing: one is not there.
    """
    known = await pictures(db, [image.sop_instance_uid for image in images])
    require_images(images, known)
    senders = await read_character_sets(db)
    found = []
    for image in images:
        window = image.window or order.window
        found.append(
            StoredPicture(
                known[image.sop_instance_uid].object_key,
                image.frame,
                None if window is None else Window(window.center, window.width),
                senders.of(known[image.sop_instance_uid].calling_ae_title),
            )
        )
    return found


@asynccontextmanager
async def as_files(
    store: ObjectStore, pictures: Sequence[StoredPicture]
) -> AsyncIterator[list[Picture]]:
    """Hold pictures as files, for the workers that draw them, for the length of a block.

    Raises:
        ImageMissing: an object is not there.
        StoreUnavailable: the store is away.
    """
    async with AsyncExitStack() as held:
        files = []
        for number, one in enumerate(pictures, 1):
            try:
                path = await held.enter_async_context(store.local_file(one.object_key))
            except ObjectMissing as error:
                raise ImageMissing(f"image {number}: its object is missing") from error
            files.append(Picture(path, one.frame, one.window, one.assumed))
        yield files
