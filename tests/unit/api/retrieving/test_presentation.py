"""What presentation states do to images: shutters, areas, graphics."""

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from darkroom_api.rendering.appearance import Viewport
from darkroom_api.rendering.presentation.area import Turn
from darkroom_api.rendering.presentation.state import PresentationState
from darkroom_common.pixels.faults import Unrenderable
from tests.unit.api.retrieving.test_retrieving_by_uri import a_state, an_image


def plain(**changes: Any) -> Dataset:
    return a_state(IMAGE, **{"ImageRotation": 0, "PresentationLUTShape": "IDENTITY", **changes})


IMAGE = an_image()
GREY = np.full((20, 40), 100, "u1")


def shown(state: Dataset, viewport: Viewport | None = None) -> Any:
    values = (GREY, "MONOCHROME2")
    return PresentationState(state).show(values, IMAGE, 1, viewport).astype(int)


def an_item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


@pytest.mark.parametrize(
    ("shutter", "inside"),
    [
        (
            {
                "ShutterShape": "RECTANGULAR",
                "ShutterLeftVerticalEdge": 5,
                "ShutterRightVerticalEdge": 8,
                "ShutterUpperHorizontalEdge": 3,
                "ShutterLowerHorizontalEdge": 4,
            },
            8,
        ),
        (
            {
                "ShutterShape": "CIRCULAR",
                "CenterOfCircularShutter": [10, 10],
                "RadiusOfCircularShutter": 1,
            },
            5,
        ),
        (
            {
                "ShutterShape": "POLYGONAL",
                "VerticesOfThePolygonalShutter": [1, 1, 1, 4, 4, 4, 4, 1],
            },
            16,
        ),
        (
            {
                "ShutterShape": ["RECTANGULAR", "CIRCULAR"],
                "ShutterLeftVerticalEdge": 10,
                "ShutterRightVerticalEdge": 40,
                "CenterOfCircularShutter": [10, 10],
                "RadiusOfCircularShutter": 1,
            },
            4,
        ),
    ],
)
def test_shutters_cover_what_is_outside(shutter: dict[str, Any], inside: int) -> None:
    found = shown(plain(**shutter, ShutterPresentationValue=65535))
    assert (found == 100).sum() == inside
    assert set(np.unique(found)) == {100, 255}


def test_a_bitmap_is_a_shutter_or_an_overlay() -> None:
    state = plain()
    bits = np.zeros((20, 40), "u1")
    bits[2:4, 5:9] = 1
    state.add_new(0x60000010, "US", 20)
    state.add_new(0x60000011, "US", 40)
    state.add_new(0x60000040, "CS", "G")
    state.add_new(0x60000050, "SS", [1, 1])
    state.add_new(0x60000100, "US", 1)
    state.add_new(0x60000102, "US", 0)
    state.add_new(0x60003000, "OW", np.packbits(bits.reshape(-1), bitorder="little").tobytes())
    assert (shown(state) == 100).all()  # nothing activates it
    state.add_new(0x60001001, "CS", "LAYER")
    assert ((shown(state) == 255) == (bits == 1)).all()
    del state[0x60001001]
    state.ShutterShape, state.ShutterOverlayGroup = "BITMAP", 0x6000
    assert ((shown(state) == 0) == (bits == 1)).all()


@pytest.mark.parametrize(
    ("area", "shape"),
    [
        ({}, (20, 40)),
        ({"corner": [11, 6], "other": [20, 15]}, (10, 10)),
        ({"corner": [-9, 1], "other": [40, 20]}, (20, 50)),
        ({"size": "MAGNIFY", "PresentationPixelMagnificationRatio": 2.0}, (40, 80)),
        ({"PresentationPixelAspectRatio": [2, 1]}, (40, 40)),
    ],
)
def test_the_displayed_area(area: dict[str, Any], shape: tuple[int, int]) -> None:
    given = dict(area)
    item = an_item(
        DisplayedAreaTopLeftHandCorner=given.pop("corner", [1, 1]),
        DisplayedAreaBottomRightHandCorner=given.pop("other", [40, 20]),
        PresentationSizeMode=given.pop("size", "SCALE TO FIT"),
        **given,
    )
    found = shown(plain(DisplayedAreaSelectionSequence=[item]))
    assert found.shape == shape
    beyond = 10 if "corner" in area and area["corner"][0] < 0 else 0
    assert (found[:, :beyond] == 0).all()
    assert (found[:, beyond:] == 100).all()
    turned = plain(DisplayedAreaSelectionSequence=[item], ImageRotation=270)
    assert shown(turned).shape == shape[::-1]
    assert max(shown(turned, Viewport(30, 30)).shape) == 30


@pytest.mark.parametrize(
    ("graphic", "drawn"),
    [
        ({"GraphicType": "POINT", "GraphicData": [10.5, 10.5]}, [(10, 10)]),
        ({"GraphicType": "POLYLINE", "GraphicData": [5, 5, 30, 5]}, [(5, 5), (5, 20), (5, 30)]),
        ({"GraphicType": "CIRCLE", "GraphicData": [20, 10, 25, 10]}, [(10, 25), (10, 15), (5, 20)]),
        (
            {"GraphicType": "ELLIPSE", "GraphicData": [10, 10, 30, 10, 20, 6, 20, 14]},
            [(10, 10), (10, 30), (6, 20), (14, 20)],
        ),
        ({"GraphicType": "INTERPOLATED", "GraphicData": [5, 5, 20, 12, 35, 5]}, [(5, 5), (12, 20)]),
        (
            {
                "GraphicType": "POLYLINE",
                "GraphicData": [5, 5, 15, 5, 15, 15, 5, 15, 5, 5],
                "GraphicFilled": "Y",
            },
            [(10, 10), (6, 6)],
        ),
        (
            {
                "GraphicType": "POLYLINE",
                "GraphicData": [0.5, 0.5, 0.9, 0.5],
                "GraphicAnnotationUnits": "DISPLAY",
            },
            [(10, 20), (10, 36)],
        ),
    ],
)
def test_graphics_are_burned_in(graphic: dict[str, Any], drawn: list[tuple[int, int]]) -> None:
    item = an_item(**{"GraphicAnnotationUnits": "PIXEL", **graphic})
    layer = an_item(
        GraphicLayer="ONE", GraphicLayerOrder=1, GraphicLayerRecommendedDisplayGrayscaleValue=65535
    )
    note = an_item(GraphicLayer="ONE", GraphicObjectSequence=[item])
    found = shown(plain(GraphicAnnotationSequence=[note], GraphicLayerSequence=[layer]))
    for row, column in drawn:
        assert found[row - 1 : row + 2, column - 1 : column + 2].max() == 255, (row, column)
    assert (found == 100).mean() > 0.5
    of_another = an_item(
        GraphicObjectSequence=[item],
        ReferencedImageSequence=[an_item(ReferencedSOPInstanceUID="1.2.3")],
    )
    assert (shown(plain(GraphicAnnotationSequence=[of_another])) == 100).all()


def test_text_stands_in_its_box() -> None:
    text = an_item(
        UnformattedTextValue="II",
        BoundingBoxAnnotationUnits="DISPLAY",
        BoundingBoxTopLeftHandCorner=[0.0, 0.0],
        BoundingBoxBottomRightHandCorner=[0.5, 1.0],
    )
    found = shown(plain(GraphicAnnotationSequence=[an_item(TextObjectSequence=[text])]))
    assert (found[:, :20] > 200).any()
    assert (found[:, 25:] == 100).all()


def test_points_go_where_pixels_go() -> None:
    pixels = np.zeros((10, 10))
    pixels[2, 7] = 1
    for degrees in (0, 90, 180, 270):
        for flipped in (False, True):
            turn = Turn(degrees, flipped)
            row, column = np.argwhere(turn.apply(pixels))[0]
            x, y = turn.moved((0.75, 0.25))
            assert (x * 10, y * 10) == pytest.approx((column + 0.5, row + 0.5))


def palette(entries: int, first: int = 0) -> dict[str, Any]:
    """From black to red; all green; from blue to black."""
    ramp = np.linspace(0, 0xFFFF, entries).astype("<u2")
    found: dict[str, Any] = {}
    for colour, table in (
        ("Red", ramp),
        ("Green", np.full_like(ramp, 0xFFFF)),
        ("Blue", ramp[::-1]),
    ):
        found[f"{colour}PaletteColorLookupTableDescriptor"] = [entries, first, 16]
        found[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    return found


@pytest.mark.parametrize(("entries", "first"), [(256, 0), (4096, 0), (1024, 100)])
def test_pseudo_colours_spread_over_what_the_window_leaves(entries: int, first: int) -> None:
    window = an_item(WindowCenter=100.5, WindowWidth=201)
    state = plain(SoftcopyVOILUTSequence=[window], **palette(entries, first))
    made = shown(state)
    assert made.shape == (20, 40, 3)
    red, green, blue = made[0, 0]
    assert green == 255
    assert abs(red - 127) <= 1
    assert abs(red + blue - 255) <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageRotation": 45},
        {
            "DisplayedAreaSelectionSequence": [
                an_item(
                    DisplayedAreaTopLeftHandCorner=[90, 90],
                    DisplayedAreaBottomRightHandCorner=[99, 99],
                )
            ]
        },
        {"DisplayedAreaSelectionSequence": [an_item(PresentationPixelAspectRatio=[0, 1])]},
        palette(512) | {"RedPaletteColorLookupTableData": b"xx"},
        palette(512) | {"RedPaletteColorLookupTableDescriptor": []},
    ],
)
def test_what_cannot_be_followed_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unrenderable):
        shown(plain(**changes))
