"""Which rules match, and why (TRX-07). The same decision routes and explains."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from darkroom_common.specs.rules import Conditions, RuleSpec

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Rule:
    """A rule in force."""

    name: str
    spec: RuleSpec


@dataclass(frozen=True)
class Facts:
    """What is known of a series when rules look at it. Descriptions may be PHI."""

    at: dt.datetime
    calling_ae_titles: tuple[str, ...] = ()
    called_ae_titles: tuple[str, ...] = ()
    modality: str = ""
    station_name: str = ""
    study_description: str = ""
    series_description: str = ""


@dataclass(frozen=True)
class Finding:
    """What one condition says. `found` may be PHI where `is_phi`."""

    condition: str
    matched: bool
    expected: str
    found: str
    is_phi: bool = False


@dataclass(frozen=True)
class Decision:
    """What one rule says of a series."""

    rule: Rule
    matched: bool
    findings: tuple[Finding, ...]
    skipped: str = ""
    """Why it was not looked at: disabled, or an earlier rule has stopped."""


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in text)
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def _like(patterns: Sequence[str], values: Sequence[str]) -> bool:
    return any(_pattern(one).fullmatch(value.strip()) for one in patterns for value in values)


def examine(conditions: Conditions, facts: Facts) -> tuple[Finding, ...]:
    """Return what each given condition says, matched or not."""
    texts = (
        ("calling_ae_titles", conditions.calling_ae_titles, facts.calling_ae_titles, False),
        ("called_ae_titles", conditions.called_ae_titles, facts.called_ae_titles, False),
        ("modalities", conditions.modalities, (facts.modality,), False),
        ("station_names", conditions.station_names, (facts.station_name,), True),
        ("study_descriptions", conditions.study_descriptions, (facts.study_description,), True),
        ("series_descriptions", conditions.series_descriptions, (facts.series_description,), True),
    )
    findings = [
        Finding(name, _like(patterns, values), " or ".join(patterns), ", ".join(values), is_phi)
        for name, patterns, values, is_phi in texts
        if patterns
    ]
    local = facts.at.astimezone(ZoneInfo(conditions.time_zone))
    if conditions.days:
        day = _DAYS[local.weekday()]
        findings.append(Finding("days", day in conditions.days, " or ".join(conditions.days), day))
    if conditions.after is not None or conditions.before is not None:
        findings.append(_hours(conditions, local.time()))
    return tuple(findings)


def _hours(conditions: Conditions, now: dt.time) -> Finding:
    after = conditions.after or dt.time.min
    before = conditions.before or dt.time.max
    inside = after <= now < before if after <= before else now >= after or now < before
    expected = f"from {after:%H:%M} until {before:%H:%M}"
    return Finding("hours", inside, expected, f"{now:%H:%M}")


def decide(rules: Sequence[Rule], facts: Facts, *, when: str | None) -> list[Decision]:
    """Return what each rule says, in order.

    Args:
        rules: in their order.
        facts: of a series.
        when: only rules that look at this moment; None takes all, to explain them.
    """
    decisions: list[Decision] = []
    stopped_by = ""
    for rule in rules:
        if when is not None and rule.spec.when != when:
            continue
        if not rule.spec.enabled:
            decisions.append(Decision(rule, matched=False, findings=(), skipped="disabled"))
            continue
        if stopped_by:
            skipped = f"stopped by {stopped_by}"
            decisions.append(Decision(rule, matched=False, findings=(), skipped=skipped))
            continue
        findings = examine(rule.spec.conditions, facts)
        matched = all(finding.matched for finding in findings)
        decisions.append(Decision(rule, matched, findings))
        if matched and rule.spec.stop:
            stopped_by = rule.name
    return decisions
