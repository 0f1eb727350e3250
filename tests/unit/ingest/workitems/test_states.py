"""The transitions of a workitem, row by row of PS3.4 table CC.1.1-2 (UPS state transitions)."""

import datetime as dt
import json
from typing import Any

import pytest

from darkroom_common.specs.worklist.workitems import Payload, State, UpsStatus
from darkroom_ingest.workitems import rules
from darkroom_ingest.workitems.reading import NotTaken, read
from darkroom_ingest.workitems.rules import Known
from tests.integration.ingest.workitems.asking import a_change, a_workitem, performed

NOW = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
OURS, THEIRS = "1.2.3.1", "1.2.3.2"
STATES: tuple[State, ...] = ("SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED")
TABLE = {
    # asked for, and the transaction UID that comes with it: what is answered in each state
    ("SCHEDULED", OURS): (0xC303, 0xC303, 0xC303, 0xC303),
    ("SCHEDULED", None): (0xC303, 0xC303, 0xC303, 0xC303),
    ("IN PROGRESS", OURS): (0x0000, 0xC302, 0xC300, 0xC300),
    ("IN PROGRESS", THEIRS): (0x0000, 0xC302, 0xC300, 0xC300),
    ("IN PROGRESS", None): (0xC301, 0xC301, 0xC301, 0xC301),
    ("COMPLETED", OURS): (0xC310, 0x0000, 0xB306, 0xC300),
    ("COMPLETED", THEIRS): (0xC310, 0xC301, 0xC301, 0xC301),
    ("COMPLETED", None): (0xC301, 0xC301, 0xC301, 0xC301),
    ("CANCELED", OURS): (0xC310, 0x0000, 0xC300, 0xB304),
    ("CANCELED", THEIRS): (0xC310, 0xC301, 0xC301, 0xC301),
    ("CANCELED", None): (0xC301, 0xC301, 0xC301, 0xC301),
}
ROWS = [
    (asked, transaction, state, status)
    for (asked, transaction), row in TABLE.items()
    for state, status in zip(STATES, row, strict=True)
]


def known(state: State, transaction: str | None) -> Known:
    whole = rules.created(a_workitem(), "1.2.3", NOW)[1] | performed()
    whole |= {rules.STATE: {"vr": "CS", "Value": [state]}}
    return Known(state, whole, claimed_by=transaction == OURS and state != "SCHEDULED")


@pytest.mark.parametrize(("asked", "transaction", "state", "status"), ROWS)
def test_a_state_is_changed_as_the_table_says(
    asked: State, transaction: str | None, state: State, status: int
) -> None:
    before = known(state, transaction)
    try:
        now_in, whole, found = rules.changed(before, a_change(asked, transaction), NOW)
    except NotTaken as error:
        assert error.status == status
        return
    assert found == status
    assert now_in == (asked if status == UpsStatus.SUCCESS else state)
    assert rules.one(whole, rules.STATE) == now_in


@pytest.mark.parametrize(
    "lacking", ["00404028", "00404019", "00404050", "00404051", "00404033", "00741216"]
)
def test_it_is_not_completed_before_it_says_what_was_performed(lacking: str) -> None:
    before = known("IN PROGRESS", OURS)
    attributes: dict[str, Any] = dict(before.attributes)
    if lacking == "00741216":
        del attributes[lacking]
    else:
        item = dict(attributes["00741216"]["Value"][0])
        del item[lacking]
        attributes["00741216"] = {"vr": "SQ", "Value": [item]}
    with pytest.raises(NotTaken) as refused:
        rules.changed(
            Known("IN PROGRESS", attributes, claimed_by=True), a_change("COMPLETED", OURS), NOW
        )
    assert refused.value.status == UpsStatus.FINAL_STATE_NOT_MET
    assert lacking in refused.value.tags or lacking == "00741216"


def test_what_is_canceled_says_when_and_why() -> None:
    _, whole, _ = rules.changed(known("IN PROGRESS", OURS), a_change("CANCELED", OURS), NOW)
    (item,) = whole[rules.PROGRESS]["Value"]
    assert item[rules.CANCELED_AT]["Value"] == ["20261127120000+0000"]
    assert item[rules.REASON_CODE]["Value"][0]["00080100"]["Value"] == ["110513"]
    assert rules.state_report(whole).keys() == {rules.REASON_CODE}


@pytest.mark.parametrize(
    ("state", "transaction", "status"),
    [
        ("SCHEDULED", "", None),
        ("SCHEDULED", OURS, UpsStatus.NOT_IN_PROGRESS),
        ("IN PROGRESS", OURS, None),
        ("IN PROGRESS", THEIRS, UpsStatus.WRONG_TRANSACTION),
        ("IN PROGRESS", "", UpsStatus.WRONG_TRANSACTION),
        ("COMPLETED", OURS, UpsStatus.FINAL),
        ("CANCELED", OURS, UpsStatus.FINAL),
    ],
)
def test_who_may_update_it(state: State, transaction: str, status: UpsStatus | None) -> None:
    given = {"00741204": {"vr": "LO", "Value": ["Another"]}}
    before = known(state, transaction)
    if status is not None:
        with pytest.raises(NotTaken) as refused:
            rules.updated(before, given, transaction, NOW)
        assert refused.value.status == status
        return
    whole = rules.updated(before, given, transaction, NOW)
    assert whole["00741204"] == given["00741204"]
    assert whole["00404018"] == before.attributes["00404018"]


@pytest.mark.parametrize("tag", ["00100010", "00100020", "0020000D", "00741000", "00080018"])
def test_an_update_does_not_say_whose_it_is(tag: str) -> None:
    with pytest.raises(NotTaken) as refused:
        rules.updated(known("SCHEDULED", ""), {tag: {"vr": "LO", "Value": ["x"]}}, "", NOW)
    assert refused.value.tags == (tag,)


def test_what_is_told_of_a_change() -> None:
    before = known("IN PROGRESS", OURS).attributes
    progress = {rules.PROGRESS: {"vr": "SQ", "Value": [{"00741004": {"vr": "DS", "Value": [40]}}]}}
    assert dict(rules.reports_of(before, before | progress)) == {3: progress}
    ready = {rules.READINESS: {"vr": "CS", "Value": ["INCOMPLETE"]}}
    assert dict(rules.reports_of(before, before | ready)) == {1: {}}
    station = {"00404025": {"vr": "SQ", "Value": [{}]}}
    assert dict(rules.reports_of(before, before | station)) == {5: station}
    assert not list(rules.reports_of(before, before))


@pytest.mark.parametrize(
    ("vr", "taken", "refused"),
    [
        ("DA", ["20260101"], ["20261301", "2026", "19XX"]),
        ("TM", ["10", "1030", "103000.123"], ["25", "103"]),
        ("DT", ["2026", "20261127", "20261127103000.5+0900"], ["2026112", "202613", "abc"]),
    ],
)
def test_dates_and_times_are_what_they_say(vr: str, taken: list[str], refused: list[str]) -> None:
    tag = {"DA": "00100030", "TM": "00080030", "DT": "00404005"}[vr]
    for one in taken:
        assert read(a_payload(tag, vr, one))[tag]["Value"] == [one]
    for one in refused:
        with pytest.raises(NotTaken) as error:
            read(a_payload(tag, vr, one))
        assert error.value.tags == (tag,)


def a_payload(tag: str, vr: str, value: str) -> Payload:
    return Payload(content=json.dumps({tag: {"vr": vr, "Value": [value]}}))


def element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def lacking(tag: str) -> dict[str, Any]:
    return {key: value for key, value in a_workitem().items() if key != tag}


@pytest.mark.parametrize(
    ("given", "uid", "status", "tags"),
    [
        *(
            (lacking(tag), "1.2", UpsStatus.MISSING_ATTRIBUTE, (tag,))
            for tag in ("00741200", "00741204", "00404041", "00404005", "00741000")
        ),
        (
            a_workitem(t00741204={"vr": "LO"}),
            "1.2",
            UpsStatus.MISSING_ATTRIBUTE_VALUE,
            ("00741204",),
        ),
        (
            a_workitem(t00741204=element("LO", " ")),
            "1.2",
            UpsStatus.MISSING_ATTRIBUTE_VALUE,
            ("00741204",),
        ),
        (
            a_workitem(t00741000=element("CS", "IN PROGRESS")),
            "1.2",
            UpsStatus.NOT_SCHEDULED,
            ("00741000",),
        ),
        *(
            (a_workitem(**{f"t{tag}": value}), uid, UpsStatus.INVALID_ATTRIBUTE_VALUE, (tag,))
            for tag, value, uid in (
                ("00080018", element("UI", "1.3"), "1.2"),
                ("00080018", element("UI", "1.03"), None),
                ("00080018", element("UI", "1.2.840.10008.5.1.4.34.5"), None),
                ("00080018", element("UI", "1.2.840.10008.5.1.4.34.5.1"), None),
                ("00080016", element("UI", "1.2.840.10008.5.1.4.34.6.2"), "1.2"),
                ("00081195", element("UI", "1.9"), "1.2"),
                ("00741002", element("SQ", {}), "1.2"),
                ("00741216", element("SQ", {}), "1.2"),
                ("00741200", element("CS", "URGENT"), "1.2"),
                ("00404041", element("CS", "READIER"), "1.2"),
                ("00404005", element("DT", "20260231"), "1.2"),
            )
        ),
    ],
)
def test_what_is_no_workitem_is_not_created(
    given: dict[str, Any], uid: str | None, status: UpsStatus, tags: tuple[str, ...]
) -> None:
    with pytest.raises(NotTaken) as refused:
        rules.created(given, uid, NOW)
    assert (refused.value.status, refused.value.tags) == (status, tags)


def test_what_is_created_is_whole_and_says_what_was_added() -> None:
    uid, whole, more = rules.created(a_workitem(t00081195={"vr": "UI"}), None, NOW)
    assert more
    assert whole["00080018"] == element("UI", uid)
    assert whole["00080016"] == element("UI", "1.2.840.10008.5.1.4.34.6.1")
    assert whole["00741202"] == element("LO", "WORKLIST")
    assert whole["00404010"] == element("DT", "20261127120000+0000")
    assert whole["00100040"] == {"vr": "CS"}
    assert "00081195" not in whole
    again = {tag: value for tag, value in whole.items() if tag != "00404010"}
    assert rules.created(again, uid, NOW) == (uid, whole, False)
    assert rules.created(again, None, NOW)[0] == uid
    named = again | {"00741202": element("LO", "READING")}
    assert rules.created(named, uid, NOW)[1]["00741202"] == element("LO", "READING")


@pytest.mark.parametrize("transaction", ["1.02", "x", "1." + "2" * 63])
def test_a_transaction_is_a_uid(transaction: str) -> None:
    with pytest.raises(NotTaken) as refused:
        rules.changed(known("SCHEDULED", ""), a_change("IN PROGRESS", transaction), NOW)
    assert refused.value.status == UpsStatus.INVALID_ATTRIBUTE_VALUE
    with pytest.raises(NotTaken) as refused:
        rules.changed(known("SCHEDULED", ""), a_change("DONE", OURS), NOW)
    assert refused.value.status == UpsStatus.INVALID_ATTRIBUTE_VALUE


def test_an_update_leaves_a_workitem_that_could_be_created() -> None:
    before = known("SCHEDULED", "")
    for tag, status in (
        ("00741204", UpsStatus.MISSING_ATTRIBUTE_VALUE),
        ("00741200", UpsStatus.MISSING_ATTRIBUTE_VALUE),
        ("00404041", UpsStatus.INVALID_ATTRIBUTE_VALUE),
        ("00404005", UpsStatus.INVALID_ATTRIBUTE_VALUE),
    ):
        value = (
            {"vr": "LO"}
            if status == UpsStatus.MISSING_ATTRIBUTE_VALUE
            else element("DT", "20269999")
        )
        with pytest.raises(NotTaken) as refused:
            rules.updated(before, {tag: value}, "", NOW)
        assert (refused.value.status, refused.value.tags) == (status, (tag,))
    later = NOW + dt.timedelta(hours=1)
    whole = rules.updated(before, {"00081195": element("UI", OURS)}, "", later)
    assert "00081195" not in whole
    assert whole["00404010"] == element("DT", "20261127130000+0000")


def test_why_it_was_canceled_is_kept_and_told_and_what_was_known_of_it_stays() -> None:
    progress = {"00741004": element("DS", 40), "00404052": element("DT", "20260101")}
    before = known("IN PROGRESS", OURS).attributes
    before = before | {rules.PROGRESS: element("SQ", progress, {"00741004": element("DS", 1)})}
    why = {
        rules.REASON: element("LT", "moved"),
        rules.REASON_CODE: element("SQ", {"00080100": element("SH", "X")}),
        "00100010": element("PN", {"Alphabetic": "Planted^Name"}),
    }
    whole = rules.canceled(before, why, NOW)
    first, second = whole[rules.PROGRESS]["Value"]
    assert first == progress | {tag: why[tag] for tag in (rules.REASON, rules.REASON_CODE)}
    assert second == {"00741004": element("DS", 1)}
    assert rules.state_report(whole) == {tag: why[tag] for tag in (rules.REASON, rules.REASON_CODE)}
    assert rules.state_report(whole | {rules.STATE: element("CS", "COMPLETED")}) == {}
    told = dict(rules.reports_of(before, whole))
    assert told == {1: rules.state_report(whole)}


@pytest.mark.parametrize(
    ("said", "start"),
    [
        ("2026", (2026, 1, 1)),
        ("202611", (2026, 11, 1)),
        ("20261127", (2026, 11, 27)),
        ("2026112710", (2026, 11, 27, 10)),
        ("20261127103005.123+0100", (2026, 11, 27, 10, 30, 5)),
        ("20261127103005-0800", (2026, 11, 27, 10, 30, 5)),
    ],
)
def test_a_start_is_by_the_clock_of_the_department(said: str, start: tuple[int, ...]) -> None:
    moment = dt.datetime(*start, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]
    assert rules.start_of(a_workitem(t00404005=element("DT", said))) == moment
