"""What films show of images becomes a presentation state: frames, windows, polarity, true size."""

import io
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from darkroom_api.objects.exchange import Kind
from darkroom_api.objects.softcopy.films import NoState, shown_on_films
from darkroom_api.objects.softcopy.spec import PresentationStateGiven
from darkroom_common.specs.films import FilmOrder
from tests.support.dciodvfy import dciodvfy
from tests.unit.api.making.kinds import made

JOB = "0f5c0000000000000000000000000001"
ONE, MULTI, OTHER = "2.25.11", "2.25.12", "2.25.13"


def state(order: dict[str, Any], **given: Any) -> PresentationStateGiven:
    asked = PresentationStateGiven.model_validate({"print_job": JOB, **given})
    return shown_on_films(asked, FilmOrder.model_validate(order), "2.25.2")


def image(uid: str, frame: int = 1, **more: Any) -> dict[str, Any]:
    return {"sop_instance_uid": uid, "frame": frame, **more}


def test_frames_and_windows_of_a_film_are_those_of_the_state(tmp_path: Any) -> None:
    narrow = {"center": 40, "width": 80}
    shown = state(
        {
            "images": [
                image(ONE, window=narrow),
                image(MULTI, 2),
                image(MULTI, 4),
                image(OTHER, window=narrow),
            ],
            "window": {"center": 500, "width": 1000},
            "polarity": "REVERSE",
            "true_size": True,
        }
    )
    assert (shown.study, shown.label, shown.print_job) == ("2.25.2", "FILM", None)
    path = tmp_path / "state.dcm"
    file = made(Kind.PRESENTATION_STATE, shown.model_dump(mode="json", exclude_unset=True))
    path.write_bytes(file)
    assert dciodvfy(path) == []
    found = dcmread(io.BytesIO(file))
    assert found.PresentationLUTShape == "INVERSE"
    images = {
        one.ReferencedSOPInstanceUID: one.get("ReferencedFrameNumber")
        for series in found.ReferencedSeriesSequence
        for one in series.ReferencedImageSequence
    }
    assert images == {ONE: None, MULTI: [2, 4], OTHER: None}
    windows = {float(one.WindowWidth): named(one) for one in found.SoftcopyVOILUTSequence}
    assert windows == {80.0: [ONE, OTHER], 1000.0: [MULTI]}
    areas = {
        tuple(map(float, one.PresentationPixelSpacing)): named(one)
        for one in found.DisplayedAreaSelectionSequence
        if one.PresentationSizeMode == "TRUE SIZE"
    }
    assert areas == {(0.5, 0.5): [ONE], (0.3, 0.3): [MULTI], (0.7, 0.7): [OTHER]}


def named(item: Dataset) -> list[str]:
    return [str(one.ReferencedSOPInstanceUID) for one in item.ReferencedImageSequence]


def test_one_window_of_all_names_no_image() -> None:
    shown = state({"images": [image(ONE), image(OTHER)], "window": {"center": 1, "width": 9}})
    values = shown.model_dump(mode="json", exclude_unset=True)
    found = dcmread(io.BytesIO(made(Kind.PRESENTATION_STATE, values)))
    (item,) = found.SoftcopyVOILUTSequence
    assert "ReferencedImageSequence" not in item
    assert found.DisplayedAreaSelectionSequence[0].PresentationSizeMode == "SCALE TO FIT"


def test_what_is_given_goes_before() -> None:
    order = {"images": [image(ONE), image(OTHER)], "window": {"center": 1, "width": 9}}
    shown = state(order, images=[OTHER], window={"center": 7, "width": 8}, label="MINE")
    assert (shown.images, shown.label) == ([OTHER], "MINE")
    assert shown.window is not None
    assert shown.window.center == 7
    assert [one.image for one in shown.of_images] == [OTHER]


@pytest.mark.parametrize(
    ("order", "word"),
    [
        ({"images": [image(ONE)], "presentation_lut": {"shape": "LIN OD"}}, "densities"),
        ({"images": [image(ONE), image(ONE, window={"center": 1, "width": 2})]}, "two windows"),
        ({"images": [image(f"2.25.{n}") for n in range(201)]}, "more than 200"),
        ({"images": [image(ONE, window={"center": 1, "width": 0.5})]}, "make no state"),
    ],
)
def test_what_no_state_can_say(order: dict[str, Any], word: str) -> None:
    with pytest.raises(NoState, match=word):
        state(order)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"print_job": JOB, "study": "A1"},
        {"study": "A1"},
        {"study": "A1", "images": [ONE], "true_size": True, "magnification": 2},
        {"study": "A1", "images": [ONE], "of_images": [{"image": OTHER}]},
        {"study": "A1", "images": [ONE], "of_images": [{"image": ONE}, {"image": ONE}]},
        {
            "study": "A1",
            "images": [ONE],
            "of_images": [{"image": ONE}, {"image": ONE, "frames": [1]}],
        },
    ],
)
def test_what_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Value error"):
        PresentationStateGiven.model_validate(values)
