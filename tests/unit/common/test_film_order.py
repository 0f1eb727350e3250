"""Short forms of what is to be printed."""

import pytest
from pydantic import ValidationError

from darkroom_common.specs.base import strict
from darkroom_common.specs.films import FilmOrder


def test_densities_and_annotations_have_short_forms() -> None:
    order = FilmOrder.model_validate(
        {
            "density": {"min": 20, "max": 300, "border": "WHITE"},
            "annotations": ["left", {"position": 4, "text": "right"}],
        }
    )
    assert (order.min_density, order.max_density) == (20, 300)
    assert (order.border_density, order.empty_image_density) == ("WHITE", None)
    assert [(one.position, one.text) for one in order.annotations] == [(1, "left"), (4, "right")]
    assert FilmOrder.model_validate(order.model_dump(mode="json")) == order


@pytest.mark.parametrize(
    "wrong", [{"density": {"middle": 1}}, {"density": "dark"}, {"annotations": [7]}]
)
def test_other_forms_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        strict(FilmOrder).model_validate(wrong)


def test_all_frames_or_the_first_of_each_image_are_chosen() -> None:
    found = [("1.2", 3), ("1.3", 1)]
    every = FilmOrder(frames="all").choose(found, 10)
    assert [(one.sop_instance_uid, one.frame) for one in every] == [
        ("1.2", 1),
        ("1.2", 2),
        ("1.2", 3),
        ("1.3", 1),
    ]
    assert len(FilmOrder().choose(found, 10)) == 2
    assert len(FilmOrder(frames="all", every=2).choose([("1.2", 1 << 31)], 5)) == 5
