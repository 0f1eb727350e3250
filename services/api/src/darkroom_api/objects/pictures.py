"""Decodes pictures, in a worker: JPEG, PNG, TIFF and BMP to frames of one kind."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps, UnidentifiedImageError

from darkroom_common.errors import PermanentError

FORMATS: Final = ("JPEG", "PNG", "TIFF", "BMP")
MOST_BYTES: Final = 96 << 20
"""Of all frames, decoded: 33 megapixels in colour."""
MOST_FRAMES: Final = 500
_LONGEST: Final = 65_535
"""Rows, and columns: what (0028,0010) can say."""
_WITH_SAMPLES: Final = 4
"""Dimensions of frames in colour."""
_PHOTOMETRIC: Final = 262
"""The tag of TIFF that says whether 0 is white (0) or black (1)."""
_WORDS: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})
_CLEAR: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_GRAY: Final = frozenset({"1", "L", "LA", "La"})
_WHITE: Final = (255, 255, 255, 255)
_LOSSY: Final = frozenset({"jpeg", "tiff_jpeg"})

Frames = np.ndarray[Any, np.dtype[Any]]


class NoPicture(PermanentError):
    """It cannot become an object; the text says why, and has nothing of it."""


@dataclass(frozen=True)
class Picture:
    """A picture with its pages.

    Attributes:
        frames: (frames, rows, columns) of grey values, or (frames, rows, columns, 3) of RGB;
            uint8, or uint16 for grey ones of more than 8 bits.
        lossy: how many times smaller its file was than its pixels, for JPEG; 0: nothing is lost.
    """

    frames: Frames
    lossy: float = 0.0

    @property
    def is_colour(self) -> bool:
        """Whether its pixels are RGB."""
        return self.frames.ndim == _WITH_SAMPLES


def decode(body: bytes) -> Picture:
    """Decode a picture: upright, on white where it is transparent, its colours as sRGB.

    Raises:
        NoPicture: it is none of `FORMATS`, or more than is taken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes: they are looked at below
        Pillow.MAX_IMAGE_PIXELS = None
        try:
            with Pillow.open(io.BytesIO(body), formats=FORMATS) as image:
                return _decoded(image, len(body))
        except UnidentifiedImageError:
            raise NoPicture("It is no picture of JPEG, PNG, TIFF or BMP.") from None
        except (OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError, IndexError):
            raise NoPicture("The picture is damaged.") from None


def _decoded(image: Pillow.Image, size: int) -> Picture:
    count = int(getattr(image, "n_frames", 1)) if image.format == "TIFF" else 1
    if count > MOST_FRAMES:
        raise NoPicture(f"It has {count} pages; {MOST_FRAMES} are taken.")
    shape = (image.size, image.mode)
    columns, rows = image.size
    samples = 2 if image.mode in _WORDS else 1 if image.mode in _GRAY else 3
    if max(rows, columns) > _LONGEST or rows * columns * samples * count > MOST_BYTES:
        raise NoPicture("It has more pixels than are taken.")
    lossy = image.format in {"JPEG", "MPO"} or image.info.get("compression") in _LOSSY
    frames = np.stack([_page(page) for page in _pages(image, count, shape)])
    return Picture(frames, round(max(1.0, frames.nbytes / size), 2) if lossy else 0.0)


def _pages(image: Pillow.Image, count: int, shape: tuple[Any, str]) -> Iterator[Pillow.Image]:
    for number in range(count):
        if count > 1:
            image.seek(number)
            if (image.size, image.mode) != shape:
                raise NoPicture("Its pages differ in size or kind; upload them one by one.")
        yield image


def _page(image: Pillow.Image) -> Frames:
    image.load()
    if image.mode in _WORDS:
        return _words(image)
    if image.mode == "F":
        raise NoPicture("Its pixels are no whole numbers.")
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _CLEAR or "transparency" in upright.info:
        over = upright.convert("RGBA")
        upright_mode = "L" if upright.mode in _GRAY else "RGB"
        flat = Pillow.alpha_composite(Pillow.new("RGBA", over.size, _WHITE), over)
        upright = flat.convert(upright_mode)
    elif upright.mode in _GRAY:
        upright = upright.convert("L")
    else:
        upright = _in_srgb(upright)
    return np.asarray(upright)


def _in_srgb(image: Pillow.Image) -> Pillow.Image:
    """Return a picture as sRGB, by the profile that it brings, if that can be used."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in {"RGB", "CMYK"}:
        try:
            made = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError):
            made = None  # what it says of its colours cannot be read: they are taken as they are
        if made is not None:
            return made
    return image.convert("RGB")


def _words(image: Pillow.Image) -> Frames:
    found = np.asarray(image)
    if found.min() < 0 or found.max() > np.iinfo(np.uint16).max:
        raise NoPicture("Its pixels have more than 16 bits.")
    words = found.astype("<u2")
    tags = getattr(image, "tag_v2", None)
    if tags is not None and tags.get(_PHOTOMETRIC) == 0:
        words = np.iinfo(np.uint16).max - words
    return words
