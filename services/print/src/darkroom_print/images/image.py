"""The frame of a picture as it is to be seen."""

from pydicom.dataset import Dataset

from darkroom_common.dicom.stored import stored_file
from darkroom_common.pixels import image
from darkroom_common.pixels.decoding import stored_values
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.image import Image
from darkroom_print.images.picture import Picture


def read_dataset(picture: Picture) -> Dataset:
    """Return the data set of a picture's file.

    Raises:
        OSError: the file cannot be read.
        Unrenderable: it is no DICOM file.
    """
    try:
        with picture.path.open("rb") as file, stored_file(file) as (stored, _):
            return image.prepared(stored.data_set(), picture.assumed)
    except (MemoryError, Unrenderable):
        raise
    except Exception as error:  # whatever pydicom raises for a hostile file
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system; pydicom's own, for a file that is cut, have no number
        raise Unrenderable("it cannot be read") from error


def render(dataset: Dataset, picture: Picture, *, overlays: bool = True) -> Image:
    """Return a frame as its header, or the user's window, wants it seen.

    Raises:
        Unrenderable: it cannot be shown.
    """
    stored = stored_values(dataset, picture.frame)
    return image.render(stored, dataset, picture.frame, picture.window, overlays=overlays)
