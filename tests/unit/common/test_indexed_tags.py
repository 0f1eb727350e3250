"""Tags that people have named: what they mean, what objects say of them, how they are searched."""

from typing import Any

import pytest
from pydantic import ValidationError

from darkroom_common.index.fields import Level
from darkroom_common.index.matching.values import (
    AllOf,
    BadKey,
    Empty,
    Matching,
    OneOf,
    Range,
    Wildcard,
)
from darkroom_common.index.query import Query, conditions
from darkroom_common.index.sql import Builder
from darkroom_common.index.tags.indexed import IndexedTag, field_of, said_of, values_of
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_common.specs.indexed_tags import IndexedTagSpec

BLIND = BlindIndex(b"b" * 32)
KEYS = PhiKeys(1, {1: "one"})


def a_tag(path: str, level: str = "series", **more: str) -> IndexedTag:
    spec = IndexedTagSpec.model_validate({"path": path, "level": level, **more})
    return IndexedTag("Named", field_of(spec))


CODE = a_tag("ProcedureCodeSequence.CodeValue")
SUITE = a_tag("00091002", creator="GEMS_IDEN_01")
TIME = a_tag("ExposureTime", "instance")
MOMENT = a_tag("AcquisitionDateTime", "instance")


@pytest.mark.parametrize(
    ("given", "tags", "vr"),
    [
        ({"path": "ProtocolName"}, ("00181030",), "LO"),
        ({"path": "00400275.RequestedProcedureID"}, ("00400275", "00401001"), "SH"),
        ({"path": "00091002", "creator": "GEMS_IDEN_01"}, ("00091002",), "SH"),
        ({"path": "00991001", "creator": "X", "vr": "LO"}, ("00991001",), "LO"),
    ],
)
def test_paths(given: dict[str, str], tags: tuple[str, ...], vr: str) -> None:
    spec = IndexedTagSpec.model_validate({**given, "level": "study"})
    assert (spec.tags, spec.value_representation) == (tags, vr)
    with pytest.raises(ValidationError):
        IndexedTagSpec.model_validate({**given, "level": "study", "path": "0018103A"})


def test_a_private_element_is_found_in_whatever_block_its_creator_has() -> None:
    header: dict[str, Any] = {
        "00090010": {"vr": "LO", "Value": ["OTHER"]},
        "00090011": {"vr": "LO", "Value": ["GEMS_IDEN_01"]},
        "00091002": {"vr": "SH", "Value": ["NOT THIS"]},
        "00091102": {"vr": "SH", "Value": ["Süite\x00 1"]},
    }
    found = values_of(header, [SUITE], BLIND)
    assert found is not None
    assert b'"00091002@GEMS_IDEN_01":"suite 1"' in found.json
    assert b"NOT THIS" not in found.json
    assert b"\\u0000" not in found.json
    assert BLIND.token(SUITE.field.keyword, "value", "suite 1") in found.tokens
    assert set(said_of([SUITE.field], [header])) == {"00090011", "00091102"}
    assert values_of({"00091002": header["00091002"]}, [SUITE], BLIND) is None


def test_values_in_all_items_and_of_several_objects_count() -> None:
    def coded(*codes: str) -> dict[str, Any]:
        items = [{"00080100": {"vr": "SH", "Value": [code]}} for code in codes]
        return {"00081032": {"vr": "SQ", "Value": [*items, {}]}}

    found = values_of(coded("A", "B"), [CODE], BLIND)
    assert found is not None
    assert b'"00081032.00080100":"a\\\\b"' in found.json
    both = said_of([CODE.field], [coded("A"), coded("A"), coded("B")])
    assert len(both["00081032"]["Value"]) == 3  # A, an empty item, B


def test_numbers_are_equal_as_numbers() -> None:
    stored = values_of({"00181150": {"vr": "IS", "Value": ["0100.0"]}}, [TIME], BLIND)
    assert stored is not None
    for text in ("100", " +1E2 ", "100.00"):
        (condition,) = conditions(TIME.field, text)
        assert isinstance(condition.match, OneOf)
        (value,) = condition.match.values
        assert BLIND.token(TIME.field.keyword, "value", value) in stored.tokens
    for text in ("1e9999", "ten", "1-2"):
        with pytest.raises(BadKey):
            conditions(TIME.field, text)


def test_moments_take_any_precision_and_ranges() -> None:
    for text, low, high in (
        ("2024", "2024", "2024~"),
        ("20240131-", "20240131", None),
        ("20240101-20240201101500.5", "20240101", "20240201101500.5~"),
        ("20240101101500-0500", "20240101101500-0500", "20240101101500-0500~"),
    ):
        (condition,) = conditions(MOMENT.field, text)
        assert condition.match == Range(low, high)
    with pytest.raises(BadKey):
        conditions(MOMENT.field, "yesterday")


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.INSTANCE])
@pytest.mark.parametrize(
    ("text", "asked", "kind"),
    [
        ("zq7", Matching(), OneOf),
        ("zq7*", Matching(), Wildcard),
        ('""', Matching(empty=True), Empty),
        ("zq7\\zq8", Matching(several=True), AllOf),
    ],
)
def test_statements_bind_all_values(
    level: Level, text: str, asked: Matching, kind: type[object]
) -> None:
    private = a_tag("00091002", "study", creator="GEMS_IDEN_01")
    (condition,) = conditions(private.field, text, asked)
    assert isinstance(condition.match, kind)
    query = Query(level, conditions=(condition,), tags=(private.field,))
    for sql, values in (
        Builder(query, keys=KEYS, blind=BLIND).page("s.id"),
        Builder(query, keys=KEYS, blind=BLIND).count(),
    ):
        assert "index.tagged t" in sql
        assert "zq7" not in sql
        assert {int(part.split(":")[0]) for part in sql.split("$")[1:]} == set(
            range(1, len(values) + 1)
        )
