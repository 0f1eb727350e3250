from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from darkroom_common.dicom.charset import Assumed
from darkroom_common.pixels import fonts
from darkroom_common.pixels.fonts import FontsMissing, font, font_of
from darkroom_common.pixels.template import filled
from darkroom_common.pixels.text import draw_line
from darkroom_print.images.image import read_dataset
from darkroom_print.images.picture import Picture
from tests.unit.print.images import a_file, an_image

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
    ("declared", "name", "line"),
    [
        ("\\ISO 2022 IR 58", b"Zhang^San=\x1b$)A\xd5\xc5^\x1b$)A\xc8\xfd", "Zhang, San 张 三"),
        (None, "Šimić^Ana".encode(), "Šimić, Ana"),
        (None, "Иванов".encode("cp1251"), "Èâàíîâ"),
        ("UTF-8", "Müller^Jö".encode(), "Müller, Jö"),
        ("ISO_IR 192", "山田太".encode()[:-1], "山田\\345\\244"),
    ],
)
def test_names_are_written_whatever_they_are_in(
    tmp_path: Path, declared: str | None, name: bytes, line: str
) -> None:
    ds = an_image(np.zeros((2, 2), np.uint16))
    del ds.SpecificCharacterSet
    path = a_file(tmp_path / "a.dcm", ds)
    head, _, rest = path.read_bytes().partition(b"\x28\x00\x02\x00")
    text = b"" if declared is None else explicit(0x00080005, "CS", declared.encode())
    start = head.index(b"\x08\x00\x16\x00")
    path.write_bytes(
        head[:start]
        + text
        + head[start:]
        + explicit(0x00100010, "PN", name)
        + b"\x28\x00\x02\x00"
        + rest
    )
    assert filled("{PatientName}", read_dataset(Picture(path))) == (line,)
    if line == "Èâàíîâ":
        picture = Picture(path, assumed=Assumed("windows-1251"))
        assert filled("{PatientName}", read_dataset(picture)) == ("Иванов",)


def explicit(tag: int, vr: str, raw: bytes) -> bytes:
    raw += b" " * (len(raw) % 2)
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    return head + vr.encode() + len(raw).to_bytes(2, "little") + raw


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
