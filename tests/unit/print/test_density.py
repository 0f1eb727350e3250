from dataclasses import replace

import numpy as np
import pytest

from darkroom_common.films.film import FILM_SIZES, Colour, FilmPlan, Polarity
from darkroom_common.films.presentation_lut import InvalidPresentationLut, LutShape, PresentationLut
from darkroom_common.specs.film_layouts import parse_layout
from darkroom_print.composing.density import jnd_index, linear_density, printed

PLAN = FilmPlan(FILM_SIZES["A4"], parse_layout("single"), dpi=50, bits=12)
ALL = np.linspace(0, 1, 4096, dtype=np.float32).reshape(1, -1)


def test_luminances_have_the_indices_of_the_standard() -> None:
    """The ends of table B-1 of PS3.14, and the entry after the first."""
    found = jnd_index(np.array([0.05, 0.0547, 3993.4040]))
    assert found == pytest.approx([1, 2, 1023], abs=0.1)


def test_identity_changes_nothing() -> None:
    assert np.array_equal(printed(ALL, PLAN)[0], np.arange(4096))


@pytest.mark.req("PRN-03")
def test_lin_od_prints_densities_linear_in_the_value() -> None:
    plan = replace(PLAN, presentation_lut=PresentationLut(LutShape.LIN_OD))
    made = printed(ALL, plan)[0].astype(float) / 4095
    assert made[0] == 0
    assert made[-1] == 1
    assert (np.diff(made) >= 0).all()
    # Backwards as a printer does it: P-Value to luminance, luminance to density.
    ends = jnd_index(10 + 2000 * 10.0 ** -np.array([3.0, 0.2]))
    luminances = np.geomspace(10, 2010, 20000)
    wanted = np.interp(ends[0] + made * (ends[1] - ends[0]), jnd_index(luminances), luminances)
    densities = -np.log10((wanted - 10) / 2000)
    assert densities[400:] == pytest.approx(np.linspace(3.0, 0.2, 4096)[400:], abs=0.02)
    assert linear_density(3, 0.2, 3.0)[1] < 0.5


@pytest.mark.parametrize("change", [{"min_density": 0}, {"max_density": 500}])
def test_lin_od_knows_the_densities_of_the_film(change: dict[str, int]) -> None:
    plan = replace(PLAN, presentation_lut=PresentationLut(LutShape.LIN_OD))
    other = replace(plan, **change)  # type: ignore[arg-type] # what a test says
    assert (printed(ALL, plan) != printed(ALL, other)).mean() > 0.5
    ends = other.min_density / 100, other.max_density / 100
    assert printed(ALL, other)[0] == pytest.approx(linear_density(4096, *ends) * 4095, abs=0.51)


@pytest.mark.req("PRN-03")
def test_a_table_is_applied_after_polarity() -> None:
    lut = PresentationLut(LutShape.TABLE, (0, 0, 1023), 10)
    plan = replace(PLAN, presentation_lut=lut)
    values = np.array([[0, 0.5, 0.75, 1]], np.float32)
    assert printed(values, plan)[0].tolist() == [0, 1, 2047, 4095]
    turned = replace(plan, polarity=Polarity.REVERSE)
    assert printed(values, turned)[0].tolist() == [4095, 0, 0, 0]


def test_colour_has_no_presentation_lut() -> None:
    lut = PresentationLut(LutShape.LIN_OD)
    plan = replace(PLAN, bits=8, colour=Colour.RGB, presentation_lut=lut)
    assert printed(np.array([[0.5]], np.float32), plan).tolist() == [[[128, 128, 128]]]


@pytest.mark.parametrize(
    ("shape", "table", "bits"),
    [
        (LutShape.TABLE, (), 12),
        (LutShape.IDENTITY, (1, 2), 12),
        (LutShape.TABLE, (1, 4096), 12),
        (LutShape.TABLE, (1, -1), 12),
        (LutShape.TABLE, (1,), 12),
        (LutShape.TABLE, (1, 2), 17),
    ],
)
def test_a_table_that_is_none_is_refused(
    shape: LutShape, table: tuple[int, ...], bits: int
) -> None:
    with pytest.raises(InvalidPresentationLut):
        PresentationLut(shape, table, bits)
