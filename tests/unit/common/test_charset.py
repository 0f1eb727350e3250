"""Text in every character set of PS3.3 C.12.1.1.2, as the standard and as objects have it."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom_common.clock import monotonic
from darkroom_common.dicom.charset import (
    NOTHING_ASSUMED,
    PAGES,
    UNDECLARED,
    WRONG,
    Assumed,
    TextReader,
    character_set,
    declaration,
    is_assumable,
    term,
)
from darkroom_common.dicom.code_extensions import SETS
from darkroom_common.dicom.json_values import element, texts
from tests.support.conformance import stated
from tests.support.waiting import LIMIT

YAMADA = b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
YAMADA_KANA = b"\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"


def read(
    declared: str | None, raw: bytes, vr: str = "PN", assumed: Assumed = NOTHING_ASSUMED
) -> tuple[list[str], set[str]]:
    """Return the values of an element as text, and the flags."""
    reader = TextReader(assumed)
    if declared is not None:
        reader.declare(declared.encode())
    return texts(element(vr, raw, reader)), reader.flags


OF_THE_STANDARD = [
    # PS3.5 annex H: Japanese
    ("\\ISO 2022 IR 87", b"Yamada^Tarou=" + YAMADA + b"=" + YAMADA_KANA, "山田^太郎=やまだ^たろう"),
    (
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=" + b"=".join((YAMADA, YAMADA_KANA)).replace(b"(B", b"(J"),
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    # annex I: Korean
    (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    # annex J: Chinese in UTF-8 and GB18030
    ("ISO_IR 192", "Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東"),
    ("GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    # annex K: Chinese with code extensions
    (
        "\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东",
    ),
    ("GBK", "Wang^XiaoDong=王^小东".encode("gbk"), "Wang^XiaoDong=王^小东"),
    ("\\ISO 2022 IR 159", b'\x1b$(D0!0"\x1b(B^A', "丂丄^A"),
    ("ISO 2022 IR 100\\ISO 2022 IR 144", b"\xc4neas\x1b-L\xbb\xee\xda^\xc4neas", "ÄneasЛюк^Äneas"),
    ("ISO 2022 IR 100\\ISO 2022 IR 126", b"Dionysios\x1b-F\xc4\xeb^\xe4", "DionysiosΔλ^ä"),
    *(
        (f"ISO_IR {number}", text.encode(codec), text)
        for number, codec, text in (
            (100, "latin_1", "Buc^Jérôme"),
            (101, "iso8859_2", "Wałęsa^Łukasz"),
            (109, "iso8859_3", "Ħaż^Ġorġ"),
            (110, "iso8859_4", "Ķēniņš^Ģirts"),
            (126, "iso8859_7", "Διονυσιος"),
            (127, "iso8859_6", "قباني^لنزار"),
            (138, "iso8859_8", "שרון^דבורה"),
            (144, "iso8859_5", "Люксембург"),
            (148, "iso8859_9", "Çavuşoğlu^İsmet"),
            (166, "iso8859_11", "สมชาย^ใจดี"),
            (203, "iso8859_15", "Œuvre^Šimon"),
            (13, "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        )
    ),
]


@pytest.mark.parametrize(("declared", "raw", "name"), OF_THE_STANDARD)
def test_names_are_read_as_the_standard_has_them(declared: str, raw: bytes, name: str) -> None:
    found, flags = read(declared, raw)
    assert found[0].endswith(name)
    assert "\x1b" not in found[0]
    assert not flags


@pytest.mark.parametrize(("declared", "raw", "name"), OF_THE_STANDARD)
def test_names_are_written_as_they_are_read(declared: str, raw: bytes, name: str) -> None:
    written = character_set(declared)
    text = written.strict(raw, "PN")
    assert written.strict(written.encode(text, "PN"), "PN") == text


ALPHABETS = {
    "ISO_IR 192": "aÄ山😀",
    "GB18030": "aÄ王小東한",
    "GBK": "a王小東",
    "\\ISO 2022 IR 87": "a山田太郎やまだ",
    "ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159": "aﾔﾏ山田丂‾",
    "\\ISO 2022 IR 149": "a홍길동洪",
    "\\ISO 2022 IR 58": "a张小东",
    "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 87": "aÄßЛю山",
    **{
        f"ISO_IR {n}": "a " + SETS[n].decode(bytes(range(0xE0, 0xE8)), "strict")
        for n in (100, 101, 144, 126)
    },
}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("declared", ALPHABETS)
def test_what_is_written_is_read_again(declared: str, data: st.DataObject) -> None:
    letters = ALPHABETS[declared]
    for vr, others in (("PN", "^=\\ "), ("LO", "^=\\ "), ("LT", "\r\n\t\f ^=")):
        text = data.draw(st.text(letters + others, max_size=12))
        written = character_set(declared)
        raw = written.encode(text, vr)
        assert written.strict(raw, vr) == text
        initial = b"\x1b(J" if declared.startswith("ISO 2022 IR 13") else b"\x1b(B"
        if b"\x1b$B" in raw:
            assert raw.rindex(initial) > raw.rindex(b"\x1b$B")  # ends in the set of value 1


def test_a_backslash_within_a_character_separates_no_values() -> None:
    assert "誠".encode("gbk").endswith(b"\x5c") or "乗".encode("gb18030").endswith(b"\x5c")
    for name, codec in (("GB18030", "gb18030"), ("GBK", "gbk")):
        character = next(
            pair.decode(codec) for pair in (bytes((lead, 0x5C)) for lead in range(0x81, 0xFE))
        )
        raw = f"A{character}B^C\\D".encode(codec)
        assert read(name, raw) == ([f"A{character}B^C", "D"], set())
    kanji = b"\x1b$B\x5c\x5c\x5e\x5e\x3d\x3d\x1b(B"
    found, flags = read("\\ISO 2022 IR 87", kanji + b"\\B")
    assert (len(found), len(found[0]), found[1], flags) == (2, 3, "B", set())


@pytest.mark.parametrize("control", ["\r\n", "\n", "\f", "\t"])
def test_a_control_character_puts_the_first_set_in_force(control: str) -> None:
    raw = b"\x1b$)C\xc8\xab" + control.encode() + b"A"
    assert read("\\ISO 2022 IR 149", raw, "LT") == ([f"홍{control}A"], set())
    raw = b"\x1b-L\xbb" + control.encode() + b"\xc4"
    assert read("ISO 2022 IR 100\\ISO 2022 IR 144", raw, "ST") == ([f"Л{control}Ä"], set())


def test_only_delimiters_of_the_vr_put_the_first_set_in_force() -> None:
    raw = b"\x1b-L\xbb^\xbb=\xbb\\\xc4"
    both = "ISO 2022 IR 100\\ISO 2022 IR 144"
    assert read(both, raw, "LO")[0] == ["Л^Л=Л", "Ä"]
    assert read(both, raw, "PN")[0] == ["Л^»=»", "Ä"]
    assert read(both, raw, "UT")[0] == ["Л^Л=Л\\Ф"]


def test_a_yen_sign_is_one_where_values_are_not_separated() -> None:
    assert read("ISO_IR 13", b"C:\\A~", "LT")[0] == ["C:¥A‾"]
    assert read("ISO_IR 13", b"C:\\A", "LO")[0] == ["C:", "A"]


ODD = [
    ("ISO_IR 192", "Müller^Jörg".encode("latin-1"), "Müller^Jörg", WRONG),
    (None, "Müller^Jörn".encode("latin-1"), "Müller^Jörn", UNDECLARED),
    (None, "Šimić^Ana".encode(), "Šimić^Ana", UNDECLARED),
    ("", "Šimić^Ana".encode(), "Šimić^Ana", UNDECLARED),
    ("ISO_IR 6", "Šimić^Ana".encode(), "Šimić^Ana", WRONG),
    ("ISO_IR 100", "Łukasz^Żak".encode(), "Łukasz^Żak", WRONG),
    ("ISO_IR 100", "Müller".encode(), "Müller", WRONG),
    ("ISO_IR 100", b"\x80 5", "€ 5", WRONG),
    ("ISO_IR 144", "Иванов".encode(), "Иванов", WRONG),
    ("ISO_IR 13", "山田".encode("cp932"), "山田", WRONG),
    ("\\ISO 2022 IR 149", "홍길동".encode("euc_kr"), "홍길동", WRONG),  # nothing put it in force
    ("\\ISO 2022 IR 149", "똠방각하".encode("cp949"), "똠방각하", WRONG),
    ("\\ISO 2022 IR 58", "镕基".encode("gbk"), "镕基", WRONG),
    (None, b"A=" + YAMADA, "A=山田^太郎", UNDECLARED),
    ("ISO_IR 100", b"A=" + YAMADA, "A=山田^太郎", WRONG),
    ("ISO_IR 192\\ISO 2022 IR 100", "Grün^Z".encode(), "Grün^Z", WRONG),
    ("GB18030\\ISO 2022 IR 58", b"Z=\x1b$)A\xd5\xc5", "Z=张", WRONG),
    ("\\ISO 2022 IR 58", b"Z=\x1b$)A\xd5\xc5^\xd0\xa1", "Z=张^小", WRONG),  # said once only
    ("\\ISO 2022 IR 87", b"A=\x1b$B;3ED^B@O:\x1b(B", "A=山田^太郎", WRONG),  # not switched back
    ("\\ISO 2022 IR 87", b"A=\x1b$B;3ED^\x1b$BB@O:\x1b(B", "A=山田^太郎", ""),
    ("\\ISO 2022 IR 87", b"\x1b$B-!\x1b(B", "①", WRONG),  # row 13 is of NEC
    ("\\ISO 2022 IR 87", b"\x1b$B|b\x1b(B", "髙", WRONG),  # selected by NEC of IBM's
    ("\\ISO 2022 IR 87", b"\x1b$@;3\x1b(B", "山", ""),
    ("ISO_IR 999", b"Plain^Name", "Plain^Name", WRONG),
    ("ISO_IR 999", "Ł".encode(), "Ł", WRONG),
    *((name, "Grün".encode(), "Grün", WRONG) for name in ("ISO IR 192", "UTF-8", "ISO_IR_192")),
    *((name, b"Gr\xfcn", "Grün", WRONG) for name in ("ISO-IR 100", "iso8859-1", "ISO_8859-1")),
    *((name, YAMADA, "山田^太郎", WRONG) for name in ("\\ISO 2020 IR 87", "\\ISO2022IR87")),
    ("ISO 2022 IR 6\\ISO 2022 IR 87", YAMADA, "山田^太郎", ""),
    ("ISO_IR 13\\ISO 2022 IR 87", YAMADA, "山田^太郎", ""),
    ("ISO 2022 IR 6, IS", b"Plain", "Plain", WRONG),
]


@pytest.mark.parametrize(("declared", "raw", "name", "flag"), ODD)
def test_what_real_objects_have_is_read_and_flagged(
    declared: str | None, raw: bytes, name: str, flag: str
) -> None:
    found, flags = read(declared, raw)
    assert found == [name]
    assert (flag in flags) if flag else not flags


LOST = [
    ("ISO_IR 192", "山田太".encode()[:-1], "山田\\345\\244"),  # cut in a character
    ("\\ISO 2022 IR 87", b"\x1b$B;3\x7e\x7e\x1b(B", "山\\176\\176"),
    ("\\ISO 2022 IR 87", b"\x1b$B;3E", "山\\105"),
    ("ISO 2022 IR 100\\ISO 2022 IR 149", b"\x1b$)C\xc8\xab\xc9", "홍\\311"),
    ("GB18030", "王".encode("gb18030") + b"\xff", "王\\377"),
    ("ISO_IR 166", b"\xa1\xdb\x81", "ก\\333\\201"),
    ("ISO_IR 100", b"\x81\xfc", "\\201ü"),
    (None, b"\x81\xfc", "\\201ü"),
    ("ISO_IR 13", b"\xb1\xa0\xf0", "ｱ\\240\\360"),
]


@pytest.mark.parametrize(("declared", "raw", "shown"), LOST)
def test_bytes_that_are_no_text_stay_readable(declared: str | None, raw: bytes, shown: str) -> None:
    """PS3.5 section 6.1.2.3: as three octal digits, and never as a value of their own."""
    for vr in ("PN", "LO", "LT"):
        found, flags = read(declared, raw, vr)
        assert found == [shown]
        assert flags


@settings(max_examples=400, deadline=None)
@given(
    raw=st.one_of(
        st.binary(max_size=24),
        st.lists(
            st.sampled_from(
                [one.escape for one in SETS.values()]
                + [b"\xc8\xab", b";3", b"^", b"\\", b"\n", b"\x80", b"\x1b"]
            ),
            max_size=8,
        ).map(b"".join),
    ),
    declared=st.sampled_from([None, *ALPHABETS, "\\ISO 2022 IR 58", "ISO_IR 13", "nonsense"]),
    vr=st.sampled_from(["PN", "LO", "LT", "CS"]),
)
def test_any_bytes_are_text_without_replacement(raw: bytes, declared: str | None, vr: str) -> None:
    values, _ = read(declared, raw, vr)
    said = "".join(values)
    said.encode("utf-8")
    if b"\xef\xbf\xbd" not in raw:
        assert "\ufffd" not in said
    assert "\ufdd0" not in said


@pytest.mark.parametrize("unit", [b"^;", b"\x1b$B", b"\x80^", b"\x1b$)C\xb0", b"^=\\"])
def test_long_text_takes_no_long_time(unit: bytes) -> None:
    raw = b"\x1b$B" + unit * (60_000 // len(unit)) + b"\x7f\x29"
    began = monotonic()
    for declared in ("\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "ISO_IR 192", None):
        assert read(declared, raw, "PN")[0]
    assert monotonic() - began < LIMIT  # a second; what is quadratic takes minutes


def test_an_assumed_set_holds_where_none_is_declared() -> None:
    gbk = "张三^李".encode("gbk")
    assert read(None, gbk, assumed=Assumed("GB18030")) == (["张三^李"], set())
    assert read("", gbk, assumed=Assumed("GB18030")) == (["张三^李"], set())
    assert read("ISO_IR 100", "Ü".encode("latin-1"), assumed=Assumed("GB18030")) == (["Ü"], set())
    cyrillic = "Иванов".encode("cp1251")
    assert read(None, cyrillic, assumed=Assumed("windows-1251")) == (["Иванов"], set())
    assert read("ISO_IR 144", cyrillic, assumed=Assumed("windows-1251"))[0] != ["Иванов"]
    always = Assumed("windows-1251", always=True)
    assert read("ISO_IR 144", cyrillic, assumed=always) == (["Иванов"], set())
    japanese = Assumed("\\ISO 2022 IR 87")
    assert read(None, b"A=" + YAMADA, assumed=japanese) == (["A=山田^太郎"], set())


def test_an_assumed_set_that_does_not_fit_is_not_forced() -> None:
    assert read(None, "Šimić".encode(), assumed=Assumed("ISO_IR 13"))[0] == ["Šimić"]
    korean = Assumed("\\ISO 2022 IR 149", always=True)
    assert read("ISO_IR 100", "Ü".encode("latin-1"), assumed=korean)[0] == ["Ü"]


def test_names_of_sets() -> None:
    assert term("ISO 2022 IR 100") == term("ISO_IR 100") == term(" iso ir 100 ") == "ISO_IR 100"
    assert term("ISO 2022 58") == "ISO_IR 58"
    assert term("UTF8") == term("ISO_IR 192") == "ISO_IR 192"
    assert term("") == ""
    assert term("ISO_IR 999") is term("nonsense") is term("ISO_IR 14") is None
    assert all(is_assumable(name) for name in (*ALPHABETS, *PAGES))
    assert not any(is_assumable(name) for name in ("", "\\", "nonsense", "ISO_IR 100\\nonsense"))


def test_the_page_lists_what_is_read() -> None:
    page = (Path(__file__).parents[3] / "docs" / "character-sets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*`|) ?\|(?: (`ISO 2022[^|]*`|) ?)\|", page, re.MULTILINE)
    alone = {one.strip("`") for one, _ in rows if one}
    extended = {two.strip("`") for _, two in rows if two}
    assert {term(one) for one in alone} | {term(one) for one in extended} == {
        *(f"ISO_IR {number}" for number in SETS if number != 14),
        *("ISO_IR 192", "GB18030", "GBK"),
    }
    for one in alone | extended:
        assert not character_set(one).flag
    for one in (WRONG, UNDECLARED, "windows-1250", "KOI8-R", "EUC-JP"):
        assert f"`{one}`" in page


def test_every_set_that_is_stated_is_read_and_written() -> None:
    lines = [one.cells for one in stated().lines if one.table == "characters"]
    assert len(lines) == len(SETS) - 1 + 3  # of ISO_IR 13 two sets; three without extensions
    for alone, extended, reads, writes in lines:
        assert (reads, writes) == ("yes", "yes")
        for declared in (alone, f"\\{extended}" if extended else alone):
            written = character_set(declared)
            assert not written.flag
            number = int(alone.rpartition(" ")[2]) if " " in alone else 0
            letters = "A^B" if number not in SETS else f"A{letter_of(number)}^B"
            raw = written.encode(letters, "PN")
            assert written.decode(raw, "PN") == (letters, ""), (declared, raw)


def letter_of(number: int) -> str:
    """A character that this set has and ASCII has not; A where it has no other."""
    if SETS[number].width > 1:
        return {87: "山", 159: "丂", 149: "한", 58: "张"}[number]
    return {6: "A", 13: "ﾔ"}.get(number) or SETS[number].decode(b"\xe4", "strict")


def test_what_we_write_is_declared() -> None:
    assert declaration("Mueller") == ""
    assert declaration("Müller") == "ISO_IR 100"
    assert declaration("Müller", "山田") == "ISO_IR 192"
    assert declaration("山田", wanted="\\ISO 2022 IR 87") == "\\ISO 2022 IR 87"
    assert declaration("张", wanted="GB18030") == "GB18030"
    assert declaration("张", wanted="\\ISO 2022 IR 149") == "ISO_IR 192"
    with pytest.raises(UnicodeEncodeError):
        character_set("ISO_IR 100").encode("山", "PN")
