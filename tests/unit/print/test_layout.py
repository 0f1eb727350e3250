from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_common.films.film import (
    FILM_SIZES,
    FilmPlan,
    InvalidFilm,
    Mode,
    Orientation,
    film_size,
)
from darkroom_common.films.image_box import ImageBox
from darkroom_common.films.image_boxes import pages, place_boxes
from darkroom_common.specs.film_layouts import Area, InvalidLayout, LayoutKind, parse_layout

INCH = FILM_SIZES["8INX10IN"]


def frames(boxes: tuple[ImageBox, ...]) -> list[tuple[int, int, int, int]]:
    return [(box.left, box.top, box.columns, box.rows) for box in boxes]


def at(layout: str, **options: object) -> list[tuple[int, int, int, int]]:
    """Return the boxes on 8 x 10 inches of 100 pixels each."""
    return frames(place_boxes(FilmPlan(INCH, parse_layout(layout), dpi=100, **options)))  # type: ignore[arg-type] # what a test says


@pytest.mark.req("PRN-02")
def test_standard_is_columns_then_rows_numbered_row_by_row() -> None:
    assert at("STANDARD\\2,5") == [
        (column * 400, row * 200, 400, 200) for row in range(5) for column in range(2)
    ]


@pytest.mark.req("PRN-02")
def test_row_gives_each_row_its_own_number_of_boxes() -> None:
    assert at("ROW\\1,2") == [(0, 0, 800, 500), (0, 500, 400, 500), (400, 500, 400, 500)]


@pytest.mark.req("PRN-02")
def test_col_is_numbered_column_by_column() -> None:
    assert at("COL\\1,2") == [(0, 0, 400, 1000), (400, 0, 400, 500), (400, 500, 400, 500)]


@pytest.mark.req("PRN-02")
def test_slides_are_35_and_40_mm_wide_as_many_as_fit() -> None:
    plan = FilmPlan(INCH, parse_layout("SLIDE"), dpi=254)
    boxes = place_boxes(plan)
    assert len(boxes) == 4 * 5  # 203.2 by 254 mm, 50 mm each
    assert {(box.columns, box.rows) for box in boxes} == {(350, 350)}
    assert boxes[1].left - boxes[0].left == 500
    wide = place_boxes(FilmPlan(INCH, parse_layout("SUPERSLIDE"), dpi=254))
    assert {(box.columns, box.rows) for box in wide} == {(400, 400)}


@pytest.mark.req("PRN-08")
def test_layouts_have_names() -> None:
    assert parse_layout("single").image_display_format == "STANDARD\\1,1"
    assert parse_layout("2x2").image_display_format == "STANDARD\\2,2"
    assert parse_layout("1+3").image_display_format == "ROW\\1,3"
    assert parse_layout("4x4") == parse_layout("contact")
    assert parse_layout("3x2").image_display_format == "STANDARD\\3,2"


@pytest.mark.req("PRN-08")
def test_a_layout_of_ones_own_is_boxes_in_fractions() -> None:
    own = {"7": (Area(0, 0, 0.75, 1), Area(0.75, 0, 0.25, 0.5), Area(0.75, 0.5, 0.25, 0.5))}
    layout = parse_layout("CUSTOM\\7", own)
    assert parse_layout("7", own) == layout
    assert frames(place_boxes(FilmPlan(INCH, layout, dpi=100))) == [
        (0, 0, 600, 1000),
        (600, 0, 200, 500),
        (600, 500, 200, 500),
    ]


@pytest.mark.req("PRN-02")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "STANDARD",
        "STANDARD\\2",
        "STANDARD\\0,1",
        "STANDARD\\2,2,2",
        "ROW\\",
        "ROW\\1,x",
        "COL\\-1",
        "SLIDE\\2",
        "CUSTOM\\9",
        "0x3",
        "1+",
        "STANDARD\\99,99",
        "ROW\\400,1",
        "grid",
    ],
)
def test_what_is_no_layout_is_refused(text: str) -> None:
    with pytest.raises(InvalidLayout):
        parse_layout(text)


def test_what_does_not_divide_is_left_at_both_edges() -> None:
    assert at("3x1", printable=(752, 903)) == [(left, 0, 250, 903) for left in (1, 251, 501)]


def test_a_box_has_a_pixel_at_least() -> None:
    assert at("single", printable=(5, 1)) == [(0, 0, 5, 1)]
    with pytest.raises(InvalidLayout):
        at("STANDARD\\20,1", printable=(10, 10))
    with pytest.raises(InvalidLayout):
        at("STANDARD\\1,20", printable=(10, 10))


def test_a_film_has_up_to_400_boxes() -> None:
    boxes = at("STANDARD\\20,20")
    assert len(set(boxes)) == 400
    assert boxes[-1] == (760, 950, 40, 50)
    assert len(at("ROW\\" + ",".join(["20"] * 20))) == 400
    with pytest.raises(InvalidLayout):
        parse_layout("STANDARD\\401,1")


@pytest.mark.parametrize(
    "areas",
    [
        (),
        (Area(0, 0, 1.1, 1),),
        (Area(-0.1, 0, 0.5, 1),),
        (Area(0, 0, 0, 1),),
        (Area(0, 0, 0.6, 1), Area(0.5, 0, 0.5, 1)),
    ],
)
def test_boxes_that_leave_the_film_or_overlap_are_refused(areas: tuple[Area, ...]) -> None:
    with pytest.raises(InvalidLayout):
        parse_layout("own", {"own": areas})


@pytest.mark.req("PRN-02")
def test_a_landscape_film_is_wider_than_high() -> None:
    assert at("single", orientation=Orientation.LANDSCAPE) == [(0, 0, 1000, 800)]


def test_stated_pixels_of_film_and_box_are_used() -> None:
    assert at("single", printable=(751, 903)) == [(0, 0, 751, 903)]
    assert at("2x1", printable=(751, 903), box_pixels=(370, 900), mode=Mode.BOXES) == [
        (5, 1, 370, 900),
        (375, 1, 370, 900),
    ]
    with pytest.raises(InvalidLayout):
        at("2x1", printable=(751, 903), box_pixels=(376, 900), mode=Mode.BOXES)


def test_pages_are_as_many_as_needed() -> None:
    assert [pages(images, 4) for images in (0, 1, 4, 5, 9)] == [0, 1, 1, 2, 3]


def test_sizes_are_the_standards() -> None:
    large = film_size("14INX17IN")
    assert (large.width_mm, large.height_mm) == pytest.approx((355.6, 431.8))
    assert film_size("10INX14IN").height_mm == 364.0
    with pytest.raises(InvalidFilm):
        film_size("14X17")


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 9},
        {"bits": 17},
        {"dpi": 0},
        {"dpi": 2400},
        {"printable": (0, 5)},
        {"min_density": 300, "max_density": 20},
        {"min_density": 20, "max_density": 20},
        {"min_density": -1},
        {"max_density": 501},
        {"text_mm": 0},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidFilm):
        FilmPlan(FILM_SIZES["14INX17IN"], parse_layout("single"), **options)  # type: ignore[arg-type] # what a test says


LAYOUTS = st.one_of(
    st.builds("STANDARD\\{},{}".format, st.integers(1, 12), st.integers(1, 12)),
    st.builds(
        lambda kind, counts: f"{kind}\\{','.join(map(str, counts))}",
        st.sampled_from(["ROW", "COL"]),
        st.lists(st.integers(1, 9), min_size=1, max_size=9),
    ),
    st.sampled_from(["SLIDE", "SUPERSLIDE"]),
)


PLANS = st.builds(
    FilmPlan,
    st.sampled_from(sorted(FILM_SIZES.values(), key=lambda size: size.name)),
    LAYOUTS.map(parse_layout),
    orientation=st.sampled_from(Orientation),
    dpi=st.integers(50, 150),
    gap_mm=st.floats(0, 5),
)


@pytest.mark.req("PRN-02")
@given(PLANS, st.integers(0, 100))
def test_no_box_leaves_the_film_or_lies_on_another(plan: FilmPlan, above: int) -> None:
    boxes = place_boxes(plan, above=above, below=above // 2)
    assert [box.position for box in boxes] == list(range(1, len(boxes) + 1))
    for box in boxes:
        assert box.left >= 0
        assert box.top >= above
        assert box.left + box.columns <= plan.columns
        assert box.top + box.rows <= plan.rows - above // 2
        assert box.width_mm * plan.columns == pytest.approx(box.columns * plan.width_mm)
    for one, two in combinations(boxes, 2):
        assert (
            one.left + one.columns <= two.left
            or two.left + two.columns <= one.left
            or one.top + one.rows <= two.top
            or two.top + two.rows <= one.top
        )
    if plan.layout.kind is LayoutKind.STANDARD:
        assert len({(box.columns, box.rows) for box in boxes}) == 1
