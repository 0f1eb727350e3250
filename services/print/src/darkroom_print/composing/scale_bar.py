"""A bar that tells how long a centimetre of the object is on the film."""

from dataclasses import dataclass
from typing import Final

from darkroom_print.composing.bitmap import Pixels

_LENGTHS_MM: Final = (200, 100, 50, 20, 10, 5, 2, 1)
_SHARE: Final = 1 / 3  # of the image's width, at most
_TICK_MM: Final = 10


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A bar.

    Attributes:
        length_mm: of the object.
        columns: pixels of film.
        label: what is written beside it.
    """

    length_mm: int
    columns: int
    label: str


def scale_bar(mm_per_pixel: float, columns: int, *, detector: bool) -> ScaleBar | None:
    """Return the longest bar that takes at most a third of the image; None when none does.

    Args:
        mm_per_pixel: millimetres of the object that one pixel of film shows.
        columns: of the image on film.
        detector: whether those are millimetres on the detector; the label then says so.
    """
    for length in _LENGTHS_MM:
        pixels = round(length / mm_per_pixel)
        if 1 < pixels <= columns * _SHARE:  # one pixel is no bar
            suffix = " (detector)" if detector else ""
            return ScaleBar(length, pixels, f"{length} mm{suffix}")
    return None


def draw_bar(bar: ScaleBar, strip: Pixels, ink: int) -> None:
    """Draw a bar at the left of a strip, with a tick at each end and each centimetre."""
    rows = len(strip)
    thick = max(1, rows // 12)
    middle = rows // 2
    strip[middle : middle + thick, : bar.columns] = ink
    step = min(bar.length_mm, _TICK_MM)
    for tick in range(0, bar.length_mm + 1, step):
        left = min(bar.columns - thick, round(tick * bar.columns / bar.length_mm))
        tall = rows // 4
        strip[middle - tall : middle + tall, max(0, left) : max(0, left) + thick] = ink
