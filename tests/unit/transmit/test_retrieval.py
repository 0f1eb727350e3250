"""What is asked for, what is offered, and what an end means, without a network (TRX-11)."""

import pytest

from darkroom_common.dimse.contexts import storage_sop_classes, transfer_syntaxes
from darkroom_transmit.retrieval.decision import (
    MOST_CONTEXTS,
    MOST_SYNTAXES,
    MOST_UIDS,
    Contents,
    End,
    Order,
    identifiers,
    judge,
    storage_contexts,
)
from tests.support.builders import CT


@pytest.mark.req("TRX-11")
def test_the_fewest_identifiers_ask_for_what_is_missing() -> None:
    contents = Contents({"1.1": [("1.1.1", CT), ("1.1.2", CT)], "1.2": [("1.2.1", CT)]})
    (study,) = identifiers(Order("1", None, (), (), "move"), contents)
    assert (study.QueryRetrieveLevel, study.StudyInstanceUID) == ("STUDY", "1")
    (series,) = identifiers(Order("1", "1.1", (), (), "move"), contents)
    assert (series.QueryRetrieveLevel, series.SeriesInstanceUID) == ("SERIES", "1.1")
    first, second = identifiers(Order("1", None, (), ("1.1.2", "1.2.1"), "get"), contents)
    assert (first.SeriesInstanceUID, first.SOPInstanceUID) == ("1.1", "1.1.2")
    assert (second.SeriesInstanceUID, second.SOPInstanceUID) == ("1.2", "1.2.1")
    (whole,) = identifiers(Order("1", None, (), ("9.9",), "move"), Contents())
    assert whole.QueryRetrieveLevel == "STUDY"
    many = tuple(f"1.1.{n}" for n in range(450))
    assert len(identifiers(Order("1", "1.1", many, (), "move"), Contents())) == 3


@pytest.mark.req("TRX-11")
@pytest.mark.parametrize("classes", [(), (CT,), tuple(storage_sop_classes()[:5])])
def test_compressed_syntaxes_are_offered_apart_as_far_as_there_is_room(
    classes: tuple[str, ...],
) -> None:
    offered = storage_contexts(classes)
    assert len(offered) <= MOST_CONTEXTS
    assert all(len(syntaxes) <= MOST_SYNTAXES for _, syntaxes in offered)
    assert {uid for uid, _ in offered} >= set(classes)
    if classes == (CT,):
        assert {one for _, syntaxes in offered for one in syntaxes} == set(transfer_syntaxes())
        assert max(len(syntaxes) for _, syntaxes in offered) == 2


@pytest.mark.req("TRX-11")
def test_what_is_here_after_an_attempt_that_was_cut_off_is_not_asked_for_again() -> None:
    contents = Contents({"1.1": [("1.1.1", CT), ("1.1.2", CT)], "1.2": [("1.2.1", CT)]})
    order = Order("1", None, (), (), "move", here=frozenset({"1.1.1", "1.2.1", "7"}))
    left = order.narrowed(contents)
    assert left is not None
    assert left.named == ("1.1.2",)
    assert order.narrowed(Contents()) is order  # the node does not say what it has
    named = Order("1", None, ("1.1.1", "1.2.1"), (), "get", here=frozenset({"1.1.1", "1.2.1"}))
    assert named.narrowed(contents) is None
    new = Order("1", None, (), (), "move")
    assert new.narrowed(contents) is new


@pytest.mark.req("TRX-11")
@pytest.mark.parametrize(
    ("end", "state", "wanted"),
    [
        (End(0x0000, 5, 0, 0, ()), "DONE", ()),
        (End(0x0000, 0, 0, 0, ()), "FAILED", ()),
        (End(0xB000, 3, 2, 0, ("1.1", "1.2")), "RETRY", ("1.1", "1.2")),
        (End(0xB000, 3, 0, 2, ()), "DONE", ()),
        (End(0xA702, 0, 5, 0, ()), "RETRY", ()),
        (End(0xA701, 0, 0, 0, ()), "RETRY", ()),
        (End(0xA801, 0, 0, 0, ()), "FAILED", ()),
        (End(0xA900, 0, 0, 0, ()), "FAILED", ()),
        (End(0xC001, 0, 0, 0, ()), "RETRY", ()),
        (End(0xFE00, 3, 0, 0, ()), "CANCELLED", ()),
        (End(0x0000, 0, 0, 0, (), arrived=5), "DONE", ()),  # without counts
        (End(0x0000, 3, 2, 0, (), arrived=5), "DONE", ()),  # with wrong ones
        (End(0x0000, 3, 2, 0, (), arrived=4), "RETRY", ()),
        (End(0x0000, 3, 2, 0, ("1.1",), arrived=5), "RETRY", ("1.1",)),
        (End(0xB000, 3, 2, 0, (), arrived=5), "RETRY", ()),
        (End(0xA702, 0, 0, 0, (), arrived=5), "RETRY", ()),
    ],
)
def test_what_an_end_means(end: End, state: str, wanted: tuple[str, ...]) -> None:
    verdict = judge(end)
    assert (verdict.state, verdict.wanted) == (state, wanted)


def test_long_lists_are_asked_for_in_parts_and_each_once() -> None:
    uids = tuple(f"1.1.{n}" for n in range(2 * MOST_UIDS + 1))
    asked = identifiers(Order("1", "1.1", uids, (), "move"), Contents())
    assert [one.QueryRetrieveLevel for one in asked] == ["IMAGE"] * 3
    assert {(one.StudyInstanceUID, one.SeriesInstanceUID) for one in asked} == {("1", "1.1")}
    parts = [one[0x00080018].value for one in asked]
    flat = [uid for part in parts for uid in ([part] if isinstance(part, str) else part)]
    assert sorted(flat) == sorted(uids)
    assert max(len(part) for part in parts if not isinstance(part, str)) == MOST_UIDS


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        (End(0xB000, 0, 0, 0, ()), "RETRY", "StatusB000"),  # of what, nobody says
        (End(0xB000, 0, 0, 1, ()), "DONE", ""),
        (End(0x0000, 0, 0, 1, ()), "DONE", ""),
        (End(0xC001, 0, 0, 3, ()), "RETRY", "StatusC001"),
        (End(0x0122, 3, 0, 0, ()), "FAILED", "SopClassNotSupported"),
        (End(0x0000, 0, 0, 0, ()), "FAILED", "NothingFound"),
        (End(0x0000, 1, 1, 0, ()), "RETRY", "SubOperationsFailed"),
    ],
)
def test_what_an_end_is_called(end: End, state: str, reason: str) -> None:
    verdict = judge(end)
    assert (verdict.state, verdict.reason) == (state, reason)
