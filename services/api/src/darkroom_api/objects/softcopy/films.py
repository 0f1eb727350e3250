"""A presentation state of what films show: images, frames, windows, polarity and true size."""

from typing import Any, Final

from pydantic import ValidationError

from darkroom_api.objects.softcopy.spec import PresentationStateGiven
from darkroom_api.objects.spec import MOST_IMAGES
from darkroom_common.errors import PermanentError
from darkroom_common.specs.films import FilmImage, FilmOrder

_LABEL: Final = "FILM"
_REVERSE: Final = "REVERSE"
_PLAIN: Final = "IDENTITY"


class NoState(PermanentError):
    """No presentation state can say what the films show. The text says what."""


def shown_on_films(
    given: PresentationStateGiven, order: FilmOrder, study: str
) -> PresentationStateGiven:
    """Return what a state says that shows images as the films of an order do.

    What is given goes before what the films show. How boxes are arranged, densities and text around
    the images are of the film alone.

    Args:
        given: names the print job.
        order: of it; it names its images.
        study: of the images.

    Raises:
        NoState: no state can say it: a frame is there in two windows, a Presentation LUT is for
            the densities of film, or it is of too many images.
    """
    if order.presentation_lut.shape != _PLAIN:
        raise NoState("The Presentation LUT of the films is for their densities alone.")
    own = given.model_dump(exclude_unset=True, exclude={"print_job"})
    shown = [one.sop_instance_uid for one in order.images]
    images = own.get("images") or list(dict.fromkeys(shown))
    if not images or max(len(images), len(shown)) > MOST_IMAGES:
        raise NoState(f"The films show no images, or more than {MOST_IMAGES}.")
    found: dict[str, Any] = {
        "study": study,
        "images": images,
        "of_images": [one for one in _of_images(order) if one["image"] in images],
        "label": _LABEL,
        "inverted": order.polarity == _REVERSE,
        "true_size": order.true_size and given.magnification is None,
    }
    if order.window is not None:
        found["window"] = order.window.model_dump()
    try:
        return PresentationStateGiven.model_validate({**found, **own})
    except ValidationError:
        raise NoState("The windows of the films, and what is given, make no state.") from None


def _of_images(order: FilmOrder) -> list[dict[str, Any]]:
    """Return what differs from image to image."""
    by_window: dict[tuple[str, Any], list[int]] = {}
    windows: dict[tuple[str, int], Any] = {}
    for one in order.images:
        window = _window(one)
        if windows.setdefault((one.sop_instance_uid, one.frame), window) != window:
            raise NoState("The films show a frame in two windows: a state has one of each.")
    for (uid, frame), window in windows.items():
        by_window.setdefault((uid, window), []).append(frame)
    return [
        {
            "image": uid,
            "frames": frames,
            "window": None if window is None else {"center": window[0], "width": window[1]},
        }
        for (uid, window), frames in by_window.items()
    ]


def _window(one: FilmImage) -> tuple[float, float] | None:
    return None if one.window is None else (one.window.center, one.window.width)
