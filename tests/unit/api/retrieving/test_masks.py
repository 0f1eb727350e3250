"""Masks that are subtracted: which frames, by how much moved, and how it is seen."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.dataset import Dataset

from darkroom_api.rendering.presentation.mask import Plan, needed, plans_of, shifted
from darkroom_common.pixels.faults import Unrenderable
from tests.support.shelf import Shelf
from tests.unit.api.retrieving.test_retrieving_by_uri import a_state, an_image

FRAMES = 6
ROWS, COLUMNS = 20, 40


def an_item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def pixels() -> "np.ndarray[Any, np.dtype[np.uint16]]":
    """Return frames with bones that stay, and a vessel that fills from the third on."""
    x = np.arange(COLUMNS)
    bones = np.broadcast_to(500 + 40 * x, (ROWS, COLUMNS))
    found = np.stack([bones] * FRAMES).astype("u2")
    for number in range(2, FRAMES):
        found[number, 8:12] -= 100 * number
    found[1] += 10
    return found


def angio(*items: Dataset, mode: str = "SUB", **changes: Any) -> Dataset:
    given: dict[str, Any] = {
        "NumberOfFrames": FRAMES,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelData": pixels().tobytes(),
        "RecommendedViewingMode": mode,
        "MaskSubtractionSequence": list(items),
    }
    return an_image(**given | changes)


def average(**changes: Any) -> Dataset:
    return an_item(**{"MaskOperation": "AVG_SUB", "MaskFrameNumbers": 1} | changes)


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (average(), {0: (0,), 1: (0,), 5: (0,)}),
        (average(MaskFrameNumbers=[1, 2]), {4: (0, 1)}),
        (average(ApplicableFrameRange=[3, 4, 6, 6]), {1: (), 2: (0,), 3: (0,), 4: (), 5: (0,)}),
        (average(MaskFrameNumbers=[7]), {3: ()}),  # there is none
        (average(MaskFrameNumbers=[1] * 65), {3: ()}),  # too many
        (average(MaskOperation="NONE"), {3: ()}),
        (average(MaskOperation="OTHER"), {3: ()}),
        (an_item(MaskOperation="TID"), {0: (), 1: (0,), 5: (4,)}),
        (an_item(MaskOperation="TID", TIDOffset=-2), {0: (2,), 3: (5,), 4: ()}),
        (
            an_item(MaskOperation="REV_TID", TIDOffset=1, ApplicableFrameRange=[4, 6]),
            {2: (), 3: (2,), 4: (1,), 5: (0,)},
        ),
        (an_item(MaskOperation="REV_TID"), {3: ()}),  # has to name its range
    ],
)
def test_operations_are_for_these_frames(item: Dataset, found: dict[int, tuple[int, ...]]) -> None:
    plans = plans_of(angio(item), None, list(found))
    assert {number: plan.mask for number, plan in zip(found, plans, strict=True)} == found
    for mode in ("NAT", ""):
        native = plans_of(angio(item, mode=mode), None, list(found))
        assert native == [Plan((number,)) for number in found]


def test_contrast_frames_are_averaged_as_far_as_there_are_any() -> None:
    item = average(ContrastFrameAveraging=2)
    first, last, beyond = plans_of(angio(item), None, [2, 4, 5])
    assert first == Plan((2, 3), (0,))
    assert last == Plan((4, 5), (0,))
    assert beyond == Plan((5,))
    assert needed([first, last, beyond]) == [0, 2, 3, 4, 5, 5]
    for wrong in (0, -1, 65):
        (plan,) = plans_of(angio(average(ContrastFrameAveraging=wrong)), None, [2])
        assert plan == Plan((2,))


def test_shifts_are_of_the_item_or_of_the_frame() -> None:
    (plan,) = plans_of(angio(average(MaskSubPixelShift=[1.5, -2.0])), None, [3])
    assert plan.shift == (1.5, -2.0)
    group = an_item(
        FramePixelShiftSequence=[
            an_item(SubtractionItemID=1, MaskSubPixelShift=[9.0, 9.0]),
            an_item(SubtractionItemID=2, MaskSubPixelShift=[0.5, 0.0]),
        ]
    )
    enhanced = angio(average(SubtractionItemID=2), SharedFunctionalGroupsSequence=[group])
    (plan,) = plans_of(enhanced, None, [3])
    assert plan.shift == (0.5, 0.0)


def test_a_mask_is_moved_down_and_to_the_right() -> None:
    mask = np.zeros((6, 6))
    mask[2, 2] = 8
    moved = shifted(mask, (1.0, 2.0))
    assert moved[3, 4] == 8
    assert moved.sum() == 8
    between = shifted(mask, (0.25, 0.0))
    assert (between[2, 2], between[3, 2]) == (6, 2)
    assert (shifted(np.ones((4, 4)), (-9.0, 3.5)) == 1).all()


def test_a_state_stands_for_what_its_image_says() -> None:
    image = angio(average())
    assert plans_of(image, a_state(image), [3]) == [Plan((3,))]
    state = a_state(image, MaskSubtractionSequence=[an_item(MaskOperation="TID")])
    assert plans_of(image, state, [3]) == [Plan((3,), (2,))]
    with pytest.raises(Unrenderable):
        plans_of(image, state, [0])
    state.RecommendedViewingMode = "NAT"
    assert plans_of(image, state, [0]) == [Plan((0,))]


async def seen(shelf: Shelf, image: Dataset, query: str = "") -> Any:
    path = (
        f"/dicom-web/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
        f"/instances/{image.SOPInstanceUID}"
    )
    answer = await shelf.client.get(f"{path}{query}", headers={"accept": "image/png"})
    assert answer.status_code == 200, answer.text
    return np.asarray(Pillow.open(io.BytesIO(answer.content))).astype(int)


async def test_what_is_seen_is_the_difference(shelf: Shelf) -> None:
    """Without bones, in units of the modality; the window of the header is of frames as stored."""
    image = angio(
        average(), RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3000, WindowWidth=10
    )
    native = angio(average(), mode="NAT")
    for one in (image, native):
        shelf.add(one)
    found = await seen(shelf, image, "/frames/5/rendered")
    assert set(np.unique(found[8:12])) == {0}
    assert set(np.unique(found[:8])) == {255}
    windowed = await seen(shelf, image, "/frames/5/rendered?window=-400,1600,linear-exact")
    # The vessel is 400 stored values below its surroundings: 800 of the modality.
    assert set(np.unique(windowed[8:12])) == {round(255 * 0.25)}
    assert set(np.unique(windowed[:8])) == {round(255 * 0.75)}
    as_stored = await seen(shelf, native, "/frames/5/rendered")
    assert len(np.unique(as_stored[:8])) == COLUMNS


async def test_a_state_has_its_own_window_of_the_difference(shelf: Shelf) -> None:
    image = angio(average(), mode="NAT")
    window = an_item(WindowCenter=-200, WindowWidth=800, VOILUTFunction="LINEAR_EXACT")
    state = a_state(
        image,
        ImageRotation=0,
        PresentationLUTShape="IDENTITY",
        SoftcopyVOILUTSequence=[window],
        MaskSubtractionSequence=[average()],
        RecommendedViewingMode="SUB",
    )
    frame = state.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    frame.ReferencedFrameNumber = 5
    for one in (image, state):
        shelf.add(one)
    found = await seen(shelf, state, "/rendered")
    assert set(np.unique(found[8:12])) == {round(255 * 0.25)}
    assert set(np.unique(found[:8])) == {round(255 * 0.75)}


async def test_an_animation_is_subtracted_frame_by_frame(shelf: Shelf) -> None:
    image = angio(average(ApplicableFrameRange=[3, 6]))
    shelf.add(image)
    path = (
        f"/dicom-web/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
        f"/instances/{image.SOPInstanceUID}/rendered"
    )
    query = {"window": "0,4000"}
    answer = await shelf.client.get(path, params=query, headers={"accept": "image/gif"})
    assert answer.status_code == 200, answer.text
    moving = Pillow.open(io.BytesIO(answer.content))
    flat = []
    for number in range(FRAMES):
        moving.seek(number)
        flat.append(len(np.unique(np.asarray(moving.convert("L"))[:8])) == 1)
    assert flat == [False, False, True, True, True, True]
