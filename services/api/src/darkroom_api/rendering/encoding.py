"""Pictures as files: JPEG, PNG, GIF, with the ICC profile that is asked for. Runs in workers."""

import io
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import imagecodecs
from PIL import Image as Pillow
from PIL import ImageCms
from pydicom.dataset import Dataset

from darkroom_api.rendering.appearance import JPEG, Appearance, IccProfile
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.grayscale import Octets
from darkroom_common.pixels.samples import is_colour

_FINE: Final = 90
"""Quality from which on JPEG keeps the colours of each pixel."""
_PNG_LEVEL: Final = 3
_FRAME_TIME: Final = 100.0  # ms, when nothing is said
_SHORTEST: Final = 20.0  # ms: what is shorter, browsers show at 100
_LONGEST: Final = 60_000.0
_PRIMARIES: Final[dict[IccProfile, dict[str, Any]]] = {
    # CIE xy of white, then of red, green, blue, and the exponent of the curve.
    IccProfile.ROMMRGB: {
        "whitepoint": (0.3457, 0.3585, 1.0),
        "primaries": (0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0),
        "gamma": 1.8,
    },
    IccProfile.DISPLAYP3: {
        "whitepoint": (0.3127, 0.3290, 1.0),
        "primaries": (0.680, 0.320, 1.0, 0.265, 0.690, 1.0, 0.150, 0.060, 1.0),
        "gamma": 2.2,
    },
}


def encoded(picture: Octets, dataset: Dataset, kind: str, appearance: Appearance) -> bytes:
    """Return a picture as JPEG or PNG."""
    if kind == JPEG and not is_colour(picture):
        # The bytes that Pillow makes, in six tenths of the time.
        return bytes(imagecodecs.jpeg8_encode(picture, level=appearance.quality))
    image = Pillow.fromarray(picture)
    profile = None
    if appearance.icc is not IccProfile.NO and is_colour(picture):
        image, profile = _in_space(image, dataset, appearance.icc)
    out = io.BytesIO()
    if kind == JPEG:
        whole = appearance.quality >= _FINE
        image.save(
            out,
            "JPEG",
            quality=appearance.quality,
            subsampling="4:4:4" if whole else "4:2:0",
            icc_profile=profile,
        )
    else:
        image.save(out, "PNG", compress_level=_PNG_LEVEL, icc_profile=profile)
    return out.getvalue()


def animated(pictures: Iterator[Octets], dataset: Dataset) -> bytes:
    """Return pictures as an animated GIF at the speed of the object, without an end."""
    images = (_indexed(one) for one in pictures)
    first = next(images)
    second = next(images, None)
    out = io.BytesIO()
    if second is None:
        first.save(out, "GIF")
    else:
        rest = chain([second], images)
        first.save(
            out,
            "GIF",
            save_all=True,
            append_images=rest,
            duration=_frame_time(dataset),
            loop=0,
            disposal=1,
        )
    return out.getvalue()


def _indexed(picture: Octets) -> Pillow.Image:
    image = Pillow.fromarray(picture)
    return image.quantize(256) if is_colour(picture) else image


def _frame_time(dataset: Dataset) -> float:
    """Return the milliseconds of a frame (PS3.3 C.7.6.5)."""
    header = FrameHeader(dataset, 1)
    found = _FRAME_TIME
    for keyword in ("RecommendedDisplayFrameRate", "CineRate"):
        rate = header.numbers(keyword)
        if rate and rate[0] > 0:
            found = 1000.0 / rate[0]
            break
    else:
        times = header.numbers("FrameTime") or header.numbers("FrameTimeVector")[1:2]
        if times and times[0] > 0:
            found = times[0]
    return min(max(found, _SHORTEST), _LONGEST)


def _in_space(
    image: Pillow.Image, dataset: Dataset, wanted: IccProfile
) -> tuple[Pillow.Image, bytes]:
    """Return an image in a colour space, and the profile of that.

    Raises:
        Unrenderable: the profile of the object is none.
    """
    own = _own_profile(dataset)
    if wanted is IccProfile.YES:
        return image, own or space(IccProfile.SRGB)
    target = space(wanted)
    source = own or space(IccProfile.SRGB)
    if source == target:
        return image, target
    try:
        made = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(source)),
            ImageCms.ImageCmsProfile(io.BytesIO(target)),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError) as error:
        raise Unrenderable("its ICC profile cannot be used") from error
    return made or image, target


def _own_profile(dataset: Dataset) -> bytes | None:
    """Return the ICC profile of an object (PS3.3 C.11.15), of its first optical path if need be."""
    items = [dataset, *(dataset.get("OpticalPathSequence") or [])]
    return next((bytes(item.ICCProfile) for item in items if item.get("ICCProfile")), None)


@lru_cache(maxsize=len(IccProfile))
def space(wanted: IccProfile) -> bytes:
    """Return the profile of a colour space that has a name."""
    if wanted in _PRIMARIES:
        return bytes(imagecodecs.cms_profile("rgb", **_PRIMARIES[wanted]))
    return bytes(imagecodecs.cms_profile(wanted.value))
