"""Negotiation, framing, and the text of metadata."""

import orjson
import pytest

from darkroom_api.dicomweb.accept import MAX_RANGES, MediaRange, parse_accept
from darkroom_api.dicomweb.metadata import metadata_of
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.retrieving.bulk import NoSuchValue, parse_path
from darkroom_api.dicomweb.retrieving.pixels import frame_numbers, swapped
from darkroom_common.index.rows import StoredInstance

ONE = StoredInstance(1, "1.2", "1.3", "1.4", "1.5", "1.2.840.10008.1.2.1", "k", 10, 5, b"")
UIDS = {
    "00080016": {"vr": "UI", "Value": ["1.5"]},
    "00080018": {"vr": "UI", "Value": ["1.4"]},
    "0020000D": {"vr": "UI", "Value": ["1.2"]},
    "0020000E": {"vr": "UI", "Value": ["1.3"]},
}


def test_ranges_are_read_with_their_parameters() -> None:
    accept = (
        'multipart/related; type="application/dicom"; transfer-syntax=*;q=0.5, image/png;q=x,'
        " application/dicom+json;q=0.9, , nonsense, text/html;q=2"
    )
    found = parse_accept([accept])
    assert found == [
        MediaRange("text/html"),
        MediaRange("application/dicom+json", quality=0.9),
        MediaRange("multipart/related", "application/dicom", "*", 0.5),
    ]
    assert parse_accept([]) == parse_accept([""]) == [MediaRange("*/*")]
    assert parse_accept(["text/html"], ["application/dicom"]) == [MediaRange("application/dicom")]


def test_quality_nought_takes_nothing_in_parts_either() -> None:
    for kind in ("multipart/related", "multipart/*", "*/*"):
        (refused,) = parse_accept([f"{kind}; q=0"])
        assert not refused.takes_parts("application/dicom"), kind
        assert not refused.takes("application/dicom")
        (taken,) = parse_accept([f"{kind}; q=0.001"])
        assert taken.takes_parts("application/dicom"), kind


def test_a_refused_multipart_is_refused_to_a_wider_range_by_its_parts() -> None:
    accept = '*/*, multipart/related; type="image/jpeg"; q=0'
    (wide, _) = parse_accept([accept])
    assert not wide.takes_parts("image/jpeg")
    assert wide.takes_parts("application/dicom")
    (every, _) = parse_accept(["*/*, multipart/related; q=0"])
    assert not every.takes_parts("application/dicom")
    assert every.takes("application/dicom")


def test_parameters_of_the_parts_may_be_quoted_with_their_type() -> None:
    (one,) = parse_accept(['multipart/related; type="application/dicom; transfer-syntax=1.2"'])
    assert (one.part, one.transfer_syntax) == ("application/dicom", "1.2")
    (two,) = parse_accept(['multipart/related; transfer-syntax=*; type="a/b;transfer-syntax=1.2"'])
    assert (two.part, two.transfer_syntax) == ("a/b", "*")


def test_a_narrower_range_says_how_much_its_form_is_wanted() -> None:
    best, last = parse_accept(["*/*, application/json;q=0.1"])
    assert best.takes("application/dicom")
    assert not best.takes("application/json")
    assert last.takes("application/json")
    (_, *rest) = parse_accept(["application/json, application/*;q=0.1"])
    assert rest[0].takes("application/json")


def test_of_very_many_ranges_the_first_are_read() -> None:
    many = ", ".join(f"a/{n}" for n in range(MAX_RANGES + 10))
    assert [one.kind for one in parse_accept([many])] == [f"a/{n}" for n in range(MAX_RANGES)]


def test_a_comma_within_quotes_parts_nothing() -> None:
    (one,) = parse_accept(['multipart/related; type="a/b,c"; transfer-syntax=1.2'])
    assert (one.part, one.transfer_syntax) == ("a/b,c", "1.2")
    assert one.takes_syntax("1.2")
    assert not one.takes_syntax("1.3")


def test_what_a_range_takes() -> None:
    dicom = MediaRange("multipart/related", "application/dicom")
    assert dicom.takes_parts("application/dicom")
    assert not dicom.takes_parts("image/jpeg")
    assert not dicom.takes("application/dicom")
    assert MediaRange("*/*").takes_parts("image/jpeg")
    assert MediaRange("multipart/*").takes_parts("image/jpeg")
    assert MediaRange("application/*").takes("application/dicom")
    assert not MediaRange("*/*", quality=0.0).takes("application/dicom")


def test_what_is_refused_is_not_taken_by_a_wider_range() -> None:
    any_other, _ = parse_accept(["application/dicom+json;q=0, */*"])
    assert not any_other.takes("application/dicom+json")
    assert any_other.takes("application/json")
    no_parts, _ = parse_accept(["multipart/related; type=image/jpeg; q=0.0, multipart/related"])
    assert not no_parts.takes_parts("image/jpeg")
    assert no_parts.takes_parts("application/dicom")
    json, _ = parse_accept(["application/json, */*; q=0"])
    assert json.takes("application/json")
    assert not parse_accept(["text/html;q=0"])[0].takes("text/html")
    no_rle = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.5; q=0'
    assert parse_accept([f"{no_rle}, */*"])[0].takes_parts("application/dicom")


@pytest.mark.parametrize("quality", ["nan", "inf", "-1", "1e3", "0x1", "1_0", "", " ", "\u0661"])
def test_what_is_no_quality_is_no_range(quality: str) -> None:
    assert parse_accept([f"text/html;q={quality}"]) == []


def test_what_java_sends_by_itself_takes_everything() -> None:
    found = parse_accept(["text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"])
    assert found[0].kind == "text/html"
    assert [(one.kind, one.quality) for one in found[3:]] == [("*/*", 0.2)] * 2


def test_framing_is_that_of_rfc_2046() -> None:
    framing = Framing("application/dicom", boundary="b")
    body = framing.head("a/b", first=True) + b"1" + framing.head("a/b", first=False) + b"2"
    assert body + framing.tail == (
        b"--b\r\nContent-Type: a/b\r\n\r\n1\r\n--b\r\nContent-Type: a/b\r\n\r\n2\r\n--b--\r\n"
    )


@pytest.mark.parametrize(
    "header",
    [
        {**UIDS, "00080020": {"vr": "DA", "Value": ["20240101"]}, "00100010": {"vr": "PN"}},
        UIDS,
        {},
        {
            **UIDS,
            "00081140": {
                "vr": "SQ",
                "Value": [
                    {
                        "00081150": {"vr": "UI", "Value": ["1"]},
                        "00100010": {"vr": "PN"},
                        "00200010": {"vr": "SH"},
                    }
                ],
            },
            "00090010": {"vr": "LO", "Value": ["x"]},
        },
        {
            **UIDS,
            "00081030": {"vr": "LO", "Value": ['}},"00100010":{"vr" {{{ \\" \\\\']},
            "00081140": {
                "vr": "SQ",
                "Value": [{"00100010": {"vr": "PN"}, "00200010": {"vr": "SH"}}],
            },
            "00090010": {"vr": "LO", "Value": ["}"]},
        },
        {**UIDS, "00083002": {"vr": "UI", "Value": ["9"]}, "FFFAFFFA": {"vr": "SQ"}},
        {**UIDS, "7FE00010": {"vr": "OW", "BulkDataURI": "bulkdata/7FE00010"}},
        {"00083010": {"vr": "UI", "Value": ["1"]}},
    ],
)
def test_metadata_gets_its_url_and_syntax_in_order(header: dict[str, dict[str, object]]) -> None:
    stored = orjson.dumps({tag: header[tag] for tag in sorted(header)})
    answer = metadata_of(ONE, stored if header else b"", "http://x/dicom-web")
    found = orjson.loads(answer)
    assert answer.count(b'"00083002":') == 1
    assert list(found) == sorted(found)
    assert found.pop("00083002") == {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
    expected = {**UIDS, **header}
    expected.pop("00083002", None)
    if "7FE00010" in header:
        uri = "http://x/dicom-web/studies/1.2/series/1.3/instances/1.4/bulkdata/7FE00010"
        expected["7FE00010"] = {"vr": "OW", "BulkDataURI": uri}
    assert found == expected


def test_paths_of_values() -> None:
    assert parse_path("7fe00010").is_pixel_data
    nested = parse_path("00400275/0/00400009")
    assert (nested.through, nested.tag) == (((0x00400275, 0),), 0x00400009)
    for bad in ("", "x", "7FE00010/", "7FE00010/0", "00400275/-1/00400009", "/".join("0" * 99)):
        with pytest.raises(NoSuchValue):
            parse_path(bad)


def test_frame_numbers_count_from_one() -> None:
    assert list(frame_numbers("1,3")) == [0, 2]
    for bad in ("", "0", "a", "1,,2", "²", "1" * 30, ",".join("1" * 1001)):
        with pytest.raises(ValueError, match="frames are numbers"):
            frame_numbers(bad)


def test_samples_are_turned_around() -> None:
    assert swapped(b"\1\2\3\4", 2) == b"\2\1\4\3"
    assert swapped(b"\1\2\3\4", 4) == b"\4\3\2\1"
    assert swapped(b"\1\2\3", 0) == b"\1\2\3"
