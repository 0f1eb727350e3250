"""Multipart bodies, in pieces of every size."""

import random

import pytest

from darkroom_common.stow.media import MediaType, parse_media_type
from darkroom_common.stow.multipart import (
    MalformedMultipart,
    Multipart,
    PartBegins,
    PartEnds,
    PartLimits,
)
from tests.support.mutation import a_seed, mutated
from tests.support.stow import Part, a_body

Parts = list[tuple[dict[str, str], bytes]]
BODY = (
    b"what is passed over\r\n--xYz \t\r\nContent-Type: a/b;\r\n q=1\r\nX:y\r\n\r\nda\r\n--xYzz\r\n"
    b"--xY\rta\r\n--xYz\r\n\r\n--xYz\r\nA: b\r\n\r\n--xYz\r\n\r\n\r\n\r\n--xYz--\r\nso is\r\n"
    b"--xYz\r\n"
)


def read(body: bytes, size: int, limits: PartLimits | None = None, boundary: str = "xYz") -> Parts:
    multipart = Multipart(boundary, limits or PartLimits())
    found: Parts = []
    for at in range(0, len(body), size):
        for event in multipart.feed(body[at : at + size]):
            match event:
                case PartBegins(fields):
                    found.append((dict(fields), b""))
                case PartEnds():
                    pass
                case _:
                    found[-1] = (found[-1][0], found[-1][1] + bytes(event))
    multipart.finish()
    return found


@pytest.mark.parametrize("size", [*range(1, 70), 10_000])
def test_parts_are_the_same_however_they_come(size: int) -> None:
    assert read(BODY, size) == [
        ({"content-type": "a/b; q=1", "x": "y"}, b"da\r\n--xYzz\r\n--xY\rta"),
        ({}, b""),
        ({"a": "b"}, b""),
        ({}, b"\r\n"),
    ]


def test_content_that_looks_like_the_beginning_of_a_delimiter() -> None:
    chance = random.Random(4)
    for _ in range(300):
        content = bytes(chance.choices(b"\r\n-xYz ", k=chance.randrange(60)))
        if b"\r\n--xYz" in b"\r\n" + content:
            continue
        body = a_body([Part(content), Part(content)], "xYz")
        assert [one for _, one in read(body, chance.randrange(1, 40))] == [content, content]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "unterminated"),
        (b"--xYz\r\n\r\ncontent", "unterminated"),
        (b"--xYz\r\nno field\r\n\r\n--xYz--", "field"),
        (b"--xYz\r\n: empty\r\n\r\n--xYz--", "field"),
        (b"--xYz\r\n" + b"A: b\r\n" * 10 + b"\r\n--xYz--", "many-fields"),
        (b"--xYz\r\nA: " + b"b" * 1000, "long-head"),
        (b"-" * 200, "preamble"),
        (b"--xYz\r\n\r\n\r\n" * 9, "many-parts"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_what_is_no_multipart(body: bytes, code: str, size: int) -> None:
    with pytest.raises(MalformedMultipart) as caught:
        read(body, size, PartLimits(parts=5, head=500, fields=4, preamble=100))
    assert caught.value.code == code


@pytest.mark.parametrize("boundary", ["", "b" * 300, "a\r\nb", "é", "ends with a blank "])
def test_what_separates_nothing(boundary: str) -> None:
    with pytest.raises(MalformedMultipart) as caught:
        Multipart(boundary)
    assert caught.value.code == "boundary"


def test_mutants_give_parts_or_a_reason_and_hold_no_memory() -> None:
    chance = random.Random(a_seed())
    for _ in range(2000):
        body = mutated(chance, BODY)
        try:
            found = read(body, chance.choice((1, 3, 50, 4096)), PartLimits(head=200, preamble=50))
        except MalformedMultipart:
            continue
        assert sum(len(content) for _, content in found) <= len(body)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a/b", MediaType("a/b")),
        (' A/B ; Type="c/D";x=y ;', MediaType("a/b", {"type": "c/D", "x": "y"})),
        (r'a/b; x="q\"uo;te"', MediaType("a/b", {"x": 'q"uo;te'})),
        ("a/b; x=", MediaType("a/b", {"x": ""})),
        ("a", None),
        ("", None),
        ("a/b c", None),
        ("a/b; x", None),
        ("a/b; x=1; X=2", None),
        ('a/b; x="open', None),
    ],
)
def test_media_types(text: str, found: MediaType | None) -> None:
    assert parse_media_type(text) == found
