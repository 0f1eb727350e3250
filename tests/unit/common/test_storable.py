"""Values that can be neither kept nor sent are found, however deep, by specs and by the API."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from darkroom_api.http.body import UnfitBody, read_json
from darkroom_common.messages.commands import PrintFilm
from darkroom_common.resources import declared
from darkroom_common.specs.films import FilmOrder
from darkroom_common.specs.storable import DEEPEST, first_fault

BAD: list[Any] = [
    "\0",
    "a\0b",
    "ä\0",
    "\ud800",
    "a\udfffb",
    math.inf,
    -math.inf,
    math.nan,
    2**63,
    -(2**63) - 1,
    {"\0": 1},
    {"\ud800": 1},
]


@pytest.mark.parametrize("bad", BAD)
def test_a_fault_is_found_with_its_place(bad: Any) -> None:
    fault = first_fault({"a": [1, {"b": bad}]})
    assert fault is not None
    assert fault.place == ("a", 1, "b")
    assert "\0" not in fault.reason


@pytest.mark.parametrize("good", ["", "ä", "\U0001f600", "\x07", 0, 2**63 - 1, 1e308, True, None])
def test_what_can_be_kept_is_no_fault(good: Any) -> None:
    assert first_fault([good, {"a": (good,)}]) is None


def test_depth_ends() -> None:
    value: Any = 1
    for _ in range(DEEPEST + 1):
        value = [value]
    assert first_fault(value) is not None
    assert first_fault(value[0]) is None


@pytest.mark.parametrize("bad", [one for one in BAD if isinstance(one, str)])
@pytest.mark.parametrize(
    "given",
    [
        {"header": "@"},
        {"film_destination": "@"},
        {"layout": "@"},
        {"annotations": ["@"]},
        {"annotations": [{"position": 1, "text": "@"}]},
        {"images": [{"sop_instance_uid": "@"}]},
        {"@": 1},
    ],
)
def test_no_film_holds_such_text(given: dict[str, Any], bad: str) -> None:
    def put(value: Any) -> Any:
        if isinstance(value, dict):
            return {bad if name == "@" else name: put(one) for name, one in value.items()}
        if isinstance(value, list):
            return [put(one) for one in value]
        return bad if value == "@" else value

    with pytest.raises(ValidationError):
        FilmOrder.model_validate(put(given))


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("place", ["window", "images"])
def test_no_film_has_a_window_without_end(place: str, bad: float) -> None:
    for window in ({"center": bad, "width": 1.0}, {"center": 1.0, "width": bad}):
        image = {"sop_instance_uid": "1.2", "window": window}
        given: dict[str, Any] = {"window": window} if place == "window" else {"images": [image]}
        with pytest.raises(ValidationError):
            FilmOrder.model_validate(given)
    with pytest.raises(ValidationError):
        FilmOrder.model_validate_json('{"window": {"center": Infinity, "width": 1}}')


@pytest.mark.parametrize(
    "resource",
    [
        declared.DESTINATIONS,
        declared.RULES,
        declared.PRINTERS,
        declared.PRINT_RULES,
        declared.SENDERS,
    ],
)
def test_no_resource_holds_nul(resource: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        resource.spec.model_validate({"description": "a\0b"})
    assert any(error["type"] == "value_error" for error in refused.value.errors())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"NaN",
        b"[Infinity]",
        b"1e400",
        b"9" * 30,
        b"9" * 60_000,
        b"9223372036854775808",
        b'"\\u0000"',
        b'"\\ud800"',
        b'{"a": 1, "a": 1}',
        b'{"b": {"a": 1, "a": 1}}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"[" * 80 + b"]" * 80,
        b"\xff",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
        b"\x00",
    ],
)
def test_a_body_is_plain_json(text: bytes) -> None:
    with pytest.raises(UnfitBody) as refused:
        read_json(text)
    assert refused.value.status_code == 422


def test_a_command_says_no_number_that_json_has_not() -> None:
    assert PrintFilm.model_config["allow_inf_nan"] is False
