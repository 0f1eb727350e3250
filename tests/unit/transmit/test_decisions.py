"""Rules, back-off and breaker as pure decisions."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_common.backoff import delay
from darkroom_common.specs.destinations import Backoff
from darkroom_common.specs.rules import RuleSpec
from darkroom_transmit.routing.decision import Facts, Rule, decide, examine
from darkroom_transmit.sending.breaker import THRESHOLD, Breaker

MONDAY_NOON = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
FACTS = Facts(
    at=MONDAY_NOON,
    calling_ae_titles=("CT1", "WORKSTATION"),
    called_ae_titles=("DARKROOM",),
    modality="CT",
    station_name="CT-ROOM-4",
    study_description="CT Thorax",
    series_description="Lung 1.0 (B70)",
)


def matched(conditions: dict[str, Any], facts: Facts = FACTS) -> bool:
    spec = RuleSpec.model_validate({"destinations": ["X"], "conditions": conditions})
    return decide([Rule("r", spec)], facts, when=None)[0].matched


@pytest.mark.req("TRX-07")
@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, True),
        ({"calling_ae_titles": ["CT?"]}, True),
        ({"calling_ae_titles": ["MR*"]}, False),
        ({"called_ae_titles": ["darkroom"]}, True),
        ({"modalities": ["MR", "CT"]}, True),
        ({"modalities": ["MR"]}, False),
        ({"station_names": ["*room-4"]}, True),
        ({"study_descriptions": ["*thorax*"], "series_descriptions": ["lung*(b70)"]}, True),
        ({"study_descriptions": ["*thorax*"], "series_descriptions": ["bone*"]}, False),
        ({"study_descriptions": ["CT.Thorax"]}, False),
        ({"days": ["mon"]}, True),
        ({"days": ["sat", "sun"]}, False),
        ({"after": "08:00", "before": "17:00"}, True),
        ({"after": "12:30"}, False),
        ({"after": "12:30", "time_zone": "Europe/Berlin"}, True),
        ({"after": "18:00", "before": "06:00"}, False),
        ({"after": "11:00", "before": "06:00"}, True),
    ],
)
def test_conditions(conditions: dict[str, Any], expected: bool) -> None:
    assert matched(conditions) is expected


@pytest.mark.req("TRX-07")
def test_order_stop_and_moments() -> None:
    def rule(name: str, **changes: Any) -> Rule:
        return Rule(name, RuleSpec.model_validate({"destinations": ["X"], **changes}))

    rules = [
        rule("off", enabled=False),
        rule("instant", when="instance"),
        rule("no", conditions={"modalities": ["US"]}, stop=True),
        rule("first", stop=True),
        rule("second"),
    ]
    told = {one.rule.name: one for one in decide(rules, FACTS, when="study-complete")}
    assert set(told) == {"off", "no", "first", "second"}
    assert [name for name, one in told.items() if one.matched] == ["first"]
    assert told["second"].skipped == "stopped by first"
    assert [one.rule.name for one in decide(rules, FACTS, when="instance")] == ["instant"]
    finding = told["no"].findings[0]
    assert (finding.condition, finding.expected, finding.found) == ("modalities", "US", "CT")


@pytest.mark.req("TRX-03")
@given(st.floats(0.1, 100), st.floats(1, 10), st.integers(0, 500), st.floats(0, 1))
def test_the_back_off_follows_the_formula(
    initial: float, multiplier: float, attempt: int, chance: float
) -> None:
    backoff = Backoff(initial_seconds=initial, multiplier=multiplier, ceiling_seconds=3600)
    found = delay(backoff, attempt, chance)
    try:
        plain = min(3600.0, initial * multiplier**attempt)
    except OverflowError:
        plain = 3600.0
    assert plain * 0.899 <= found <= min(3600.0, plain * 1.101)
    assert found <= 3600


@pytest.mark.req("TRX-08")
def test_the_breaker_opens_probes_and_closes() -> None:
    breaker = Breaker()
    for now in range(THRESHOLD - 1):
        breaker.failed("ConnectionRefused", now, 10)
        assert breaker.wait(now) == 0
    breaker.failed("ConnectionRefused", 5, 10)
    assert breaker.state() == "open"
    assert breaker.wait(6) == 9
    assert breaker.wait(15) == 0
    assert breaker.begin()
    assert breaker.state() == "half-open"
    assert breaker.wait(16) == float("inf")
    breaker.nothing_learnt()
    assert breaker.wait(16) == 0
    assert breaker.begin()
    breaker.failed("AnswerTimeout", 20, 40)
    assert breaker.wait(20) == 40
    breaker.begin()
    breaker.succeeded()
    assert (breaker.state(), breaker.wait(21), breaker.reason) == ("closed", 0, "")
    assert not breaker.begin()


def opened(reason: str = "AnswerTimeout") -> Breaker:
    breaker = Breaker()
    for _ in range(THRESHOLD):
        breaker.failed(reason, 100, 10)
    return breaker


def test_the_breaker_lets_one_probe_pass_and_learns_from_it() -> None:
    breaker = opened()
    assert (breaker.state(), breaker.failures, breaker.reason) == ("open", 3, "AnswerTimeout")
    assert (breaker.wait(109.5), breaker.wait(110)) == (0.5, 0)
    assert breaker.begin()
    assert breaker.wait(1000) == float("inf"), "one at a time"
    breaker.failed("AnswerTimeout", 120, 30)
    assert (breaker.state(), breaker.wait(120), breaker.failures) == ("open", 30, 4)
    assert breaker.begin()
    breaker.succeeded()
    assert (breaker.state(), breaker.failures, breaker.wait(0)) == ("closed", 0, 0)
    breaker.failed("AnswerTimeout", 200, 10)
    assert breaker.state() == "closed", "it counts anew"


def test_an_operator_closes_the_breaker_and_a_probe_that_came_nowhere_does_not() -> None:
    breaker = opened()
    breaker.begin()
    breaker.nothing_learnt()
    assert (breaker.state(), breaker.failures) == ("open", 3)
    breaker.begin()
    breaker.reset()
    assert breaker == Breaker()


@pytest.mark.parametrize("reason", ["ConnectionRefused", "HostUnknown", "AnswerTimeout", "Aborted"])
def test_an_echo_hurries_what_could_not_reach_the_peer_alone(reason: str) -> None:
    breaker = opened(reason)
    reached = reason in {"AnswerTimeout", "Aborted"}
    breaker.answered(101)
    assert breaker.wait(101) == (9 if reached else 0)
    assert breaker.state() == "open", "work still has to show that it is well"
    breaker.answered(500)
    assert breaker.wait(101) == (9 if reached else 0), "it puts nothing off"
    closed = Breaker()
    closed.answered(1)
    assert closed == Breaker()


@pytest.mark.parametrize(
    ("hours", "matching"),
    [
        ({"after": "00:00", "before": "00:00"}, ()),  # nothing is from midnight until midnight
        ({"after": "12:00", "before": "12:00"}, ()),
        ({"before": "00:00"}, ()),
        ({"after": "00:00"}, ("00:00", "06:00", "12:00", "18:00", "23:59")),
        ({"after": "18:00", "before": "00:00"}, ("18:00", "23:59")),
        ({"after": "18:00", "before": "06:00"}, ("00:00", "18:00", "23:59")),
        ({"after": "06:00", "before": "18:00"}, ("06:00", "12:00")),
        ({"before": "06:00"}, ("00:00",)),
        ({"after": "12:00"}, ("12:00", "18:00", "23:59")),
    ],
)
def test_hours_begin_with_their_first_minute_and_end_before_their_last(
    hours: dict[str, str], matching: tuple[str, ...]
) -> None:
    for text in ("00:00", "06:00", "12:00", "18:00", "23:59"):
        at = MONDAY_NOON.replace(hour=int(text[:2]), minute=int(text[3:]))
        assert matched(hours, replace(FACTS, at=at)) is (text in matching), text


def test_what_may_name_a_patient_is_marked_in_what_a_rule_has_found() -> None:
    """Findings are shown and logged: only those that are no PHI may be."""
    given = {
        "calling_ae_titles": ["*"],
        "called_ae_titles": ["*"],
        "modalities": ["*"],
        "station_names": ["*"],
        "study_descriptions": ["*"],
        "series_descriptions": ["*"],
    }
    found = examine(
        RuleSpec.model_validate({"destinations": ["X"], "conditions": given}).conditions, FACTS
    )
    assert {one.condition: one.is_phi for one in found} == {
        "calling_ae_titles": False,
        "called_ae_titles": False,
        "modalities": False,
        "station_names": True,
        "study_descriptions": True,
        "series_descriptions": True,
    }
