from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from darkroom_print.composing import fonts
from darkroom_print.composing.fonts import FontsMissing, font, font_of
from darkroom_print.composing.template import filled
from darkroom_print.composing.text import draw_line

SCRIPTS = {
    "Latin": "Müller Şşęń",
    "Cyrillic": "Иванов",
    "Greek": "Παπαδόπουλος",
    "Arabic": "محمد",
    "Hebrew": "כהן",
    "Thai": "สมชาย",
    "Devanagari": "नमस्ते",
    "Bengali": "বাংলা",
    "Tamil": "தமிழ்",
    "Kanji": "山田太郎",
    "Kana": "やまだ タロウ",
    "Hanzi": "王小东",
    "Hangul": "홍길동",
    "Armenian": "Հայ",
    "Georgian": "ქართ",
    "Ethiopic": "አማርኛ",
}


def ink(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return draw_line(text, rows=60, columns=900, size=40).mask


@pytest.mark.req("PRN-03")
@pytest.mark.parametrize("script", list(SCRIPTS))
def test_every_script_has_glyphs(script: str) -> None:
    text = SCRIPTS[script]
    drawn = draw_line(text, rows=60, columns=900, size=40)
    assert drawn.unprintable == 0
    assert drawn.mask.max() == 255
    for character in text.replace(" ", ""):
        path = font_of(character)
        assert path is not None
        chosen = font(path, 40, 0)
        assert bytes(chosen.getmask(character)) != bytes(chosen.getmask("\U0010fffe"))


def test_right_to_left_lines_begin_at_the_right_and_are_joined() -> None:
    arabic = ink("محمد")
    columns = np.flatnonzero(arabic.max(0))
    assert columns[0] > 700
    assert columns[-1] > 890
    apart = sum(np.count_nonzero(ink(letter)) for letter in "محمد")
    assert np.count_nonzero(arabic) < apart  # initial and medial forms are smaller
    assert np.flatnonzero(ink("Ali").max(0))[0] < 10


def test_vowel_signs_are_shaped_with_their_consonant() -> None:
    """Devanagari i is written before the consonant that it follows."""
    together, alone = ink("कि"), ink("क")
    assert np.flatnonzero(together.max(0))[-1] > np.flatnonzero(alone.max(0))[-1]
    assert not np.array_equal(together[:, :20], alone[:, :20])


def test_han_characters_take_the_forms_of_the_language_beside_them() -> None:
    assert not np.array_equal(ink("直")[:, :40], ink("直の")[:, :40])


def test_what_no_font_has_is_a_box_and_counted() -> None:
    drawn = draw_line("a\U0010fffdb", rows=60, columns=900, size=40)
    assert drawn.unprintable == 1
    assert np.array_equal(drawn.mask, ink("a\u25a1b"))


def test_long_lines_are_made_smaller_then_cut() -> None:
    for count in (1, 20, 60, 5000):
        drawn = draw_line("Wide " * count, rows=60, columns=900, size=40)
        assert drawn.mask.shape == (60, 900)
        assert drawn.mask.max() == 255


def test_control_characters_draw_nothing() -> None:
    assert np.array_equal(ink("a\x1b\tb"), ink("a  b"))


def test_missing_fonts_are_told_with_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "DIRECTORIES", (Path("nowhere"),))
    fonts.font_files.cache_clear()
    try:
        with pytest.raises(FontsMissing, match="fonts-dejavu-core fonts-noto-core"):
            fonts.font_files()
    finally:
        fonts.font_files.cache_clear()


@pytest.fixture
def image() -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = "Yamada^Tarou^^Dr=山田^太郎=やまだ^たろう"
    ds.PatientID = "A-1"
    ds.StudyDate = "20240229"
    ds.StudyTime = "134501.250"
    ds.OtherPatientNames = ["Doe^Jane", "Roe"]
    ds.PixelSpacing = [0.5, 0.25]
    ds.PatientComments = "x" * 1000
    return ds


@pytest.mark.req("PRN-03")
@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{PatientName}", "Yamada, Dr Tarou 山田 太郎 やまだ たろう"),
        ("{PatientID}: {StudyDate} {StudyTime}", "A-1: 2024-02-29 13:45:01"),
        ("{OtherPatientNames}", "Doe, Jane, Roe"),
        ("{PixelSpacing} mm", "0.5, 0.25 mm"),
        ("[{AccessionNumber}{NoSuchThing}]", "[]"),
        ("{PatientComments}", "x" * 200),
        ("{PixelData}{RequestAttributesSequence}{}", "{}"),
    ],
)
def test_placeholders_are_filled(image: Dataset, template: str, line: str) -> None:
    assert filled(template, image) == (line,)


def test_templates_have_lines_and_work_without_an_image(image: Dataset) -> None:
    assert filled("a\n{PatientID}\n", image) == ("a", "A-1")
    assert filled("a {PatientID}", None) == ("a",)
    assert filled("", image) == ()
