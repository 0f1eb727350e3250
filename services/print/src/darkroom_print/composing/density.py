"""From displayed values to what is printed: polarity, Presentation LUT, bits.

PS3.3 C.11.4 and C.13.5; PS3.14 sections 7 and 8 (Grayscale Standard Display Function).
"""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from darkroom_common.films.film import Colour, Density, FilmPlan, Polarity
from darkroom_common.films.presentation_lut import LutShape, PresentationLut
from darkroom_common.pixels.samples import OCTET, is_colour
from darkroom_print.composing.bitmap import Pixels

ILLUMINATION: Final = 2000.0  # cd/m2, of a light box
REFLECTED: Final = 10.0  # cd/m2, of ambient light
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
_GSDF: Final = (
    71.498068, 94.593053, 41.912053, 9.8247004, 0.28175407,
    -1.1878455, -0.18014349, 0.14710899, -0.017046845,
)  # fmt: skip
"""Coefficients A to I of PS3.14 equation 2, of powers of the logarithm of luminance."""


def jnd_index(luminance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the index of the just noticeable difference of luminances in cd/m2 (PS3.14 eq. 2)."""
    return np.asarray(np.polynomial.Polynomial(_GSDF)(np.log10(luminance)), np.float64)


def linear_density(levels: int, least: float, greatest: float) -> npt.NDArray[np.float64]:
    """Return the P-Values, 0 to 1, that print densities linear in the pixel value (LIN OD).

    Args:
        levels: of the pixel value; 0 prints the greatest density.
        least: optical density of the film.
        greatest: optical density of the film.
    """
    densities = np.linspace(greatest, least, levels)
    index = jnd_index(REFLECTED + ILLUMINATION * 10.0**-densities)
    return np.asarray((index - index[0]) / (index[-1] - index[0]))


@lru_cache(maxsize=4)
def _table(
    lut: PresentationLut, bits: int, least: int, greatest: int, reverse: bool
) -> npt.NDArray[np.uint16]:
    """Return what is printed for each of the greyscale values of `bits`."""
    white = (1 << bits) - 1
    match lut.shape:
        case LutShape.IDENTITY:
            values = np.linspace(0.0, 1.0, white + 1)
        case LutShape.LIN_OD:
            values = linear_density(white + 1, least / 100, greatest / 100)
        case LutShape.TABLE:
            entries = np.asarray(lut.table, np.float64) / ((1 << lut.bits) - 1)
            values = np.interp(
                np.linspace(0, len(entries) - 1, white + 1), np.arange(len(entries)), entries
            )
    if reverse:
        values = values[::-1]
    return np.rint(values * white).astype(np.uint16)


def printed(values: npt.NDArray[np.float32], plan: FilmPlan) -> Pixels:
    """Return the samples that are printed for displayed values.

    On a greyscale film colours become their luminance; on a colour film grey is in all samples,
    and the Presentation LUT, which is for greyscale, is not applied.

    Args:
        values: (rows, columns) or (rows, columns, 3), 0 black to 1 white.
        plan: of the film.
    """
    monochrome = plan.colour is Colour.MONOCHROME2
    if monochrome and is_colour(values):
        values = values @ _LUMA
    samples = np.rint(np.clip(values, 0.0, 1.0) * np.float32(plan.white))
    whole: Pixels = samples.astype(np.uint8 if plan.bits == OCTET else np.uint16)
    reverse = plan.polarity is Polarity.REVERSE
    lut = plan.presentation_lut
    if monochrome:
        if reverse or lut.shape is not LutShape.IDENTITY:
            table = _table(lut, plan.bits, plan.min_density, plan.max_density, reverse)
            whole = table.astype(whole.dtype)[whole]
        return whole
    if reverse:
        whole = plan.white - whole
    if not is_colour(whole):
        whole = np.repeat(whole[..., np.newaxis], 3, axis=-1)
    return whole


def level(density: Density, plan: FilmPlan) -> int:
    """Return the sample of a border or of an empty box."""
    return 0 if density is Density.BLACK else plan.white
