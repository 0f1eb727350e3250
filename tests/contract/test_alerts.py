"""The rules of Prometheus: valid, about metrics that there are, each with a page that helps."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from darkroom_common.telemetry import metrics
from tests.contract.alert_cases import ALL_UP, CASES, Case
from tests.support.deployed import ROOT

RULES: Final = ROOT / "infra" / "helm" / "darkroom" / "files" / "alerts.yaml"
ALERTMANAGER: Final = RULES.with_name("alertmanager.yaml")
STORAGE_FREE: Final = 'darkroom_storage_free_bytes{volume="spool"}'
STORAGE_TOTAL: Final = 'darkroom_storage_total_bytes{volume="spool"}'
RUNBOOKS: Final = ROOT / "docs" / "runbooks"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def series() -> set[str]:
    return {name for row in metrics.rows().values() for name in row.series}


def test_rules_speak_of_metrics_that_there_are() -> None:
    for rule in rules():
        named = set(re.findall(r"darkroom_[a-z0-9_]+", rule["expr"]))
        assert named or re.search(r"\b(up|ALERTS)\b", rule["expr"]), rule["alert"]
        assert named <= series(), rule["alert"]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    names = {rule["alert"] for rule in rules()}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == names
    for rule in rules():
        page = ROOT / rule["annotations"]["runbook_url"]
        text = page.read_text()
        assert text.startswith(f"# {rule['alert']}\n")
        assert "**Look at**" in text
        assert "**Do**" in text
        for linked in re.findall(r"\((\w+\.md)\)", text):
            assert (RUNBOOKS / linked).exists(), linked


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    assert found, "promtool is of the package prometheus: infra/local/bootstrap.sh test"
    return found


def test_prometheus_takes_the_rules(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", RULES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def told(rule: dict[str, Any], case: Case) -> dict[str, str]:
    """The annotations of a rule as they are told."""

    def fill(text: str) -> str:
        text = text.replace("{{ $value }}", case.value)
        return re.sub(r"{{ \$labels\.(\w+) }}", lambda m: case.labels.get(m[1], ""), text)

    return {name: fill(text) for name, text in rule["annotations"].items()}


def cases(rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
    case = CASES[rule["alert"]]
    fired = {"exp_labels": rule["labels"] | case.labels, "exp_annotations": told(rule, case)}
    for series, alerts in ((case.fires, [fired]), (case.quiet, [])):
        yield {
            "interval": "1m",
            "input_series": [{"series": key, "values": value} for key, value in series.items()],
            "alert_rule_test": [
                {"eval_time": "2h", "alertname": rule["alert"], "exp_alerts": alerts}
            ],
        }


def run_tests(promtool: str, folder: Path, *files: tuple[Path, list[dict[str, Any]]]) -> None:
    """Have promtool run tests, each list with the rules of a file."""
    named = []
    for number, (rule_file, tests) in enumerate(files):
        given = {"rule_files": [str(rule_file)], "evaluation_interval": "1m", "tests": tests}
        named.append(folder / f"test-{number}.yaml")
        named[-1].write_text(yaml.safe_dump(given))
    done = subprocess.run(
        [promtool, "test", "rules", *named], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def alone(rule: dict[str, Any], folder: Path) -> Path:
    """A file of one rule: with all of them each minute of each test costs fifty times as much."""
    file = folder / f"{rule['alert']}.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    return file


def test_each_alert_fires_when_it_should_and_not_otherwise(promtool: str, tmp_path: Path) -> None:
    assert set(CASES) >= {rule["alert"] for rule in rules()}
    files = [
        (RULES if "ALERTS" in rule["expr"] else alone(rule, tmp_path), list(cases(rule)))
        for rule in rules()
    ]
    run_tests(promtool, tmp_path, *files)


def test_what_nobody_ends_goes_to_who_stands_behind_after_15_minutes(
    promtool: str, tmp_path: Path
) -> None:
    """The escalation comes 15 minutes after the alert itself, neither before nor for a warning."""
    full = ALL_UP | {STORAGE_TOTAL: "100x60", STORAGE_FREE: "5x60"}
    low = ALL_UP | {STORAGE_TOTAL: "100x60", STORAGE_FREE: "15x60"}
    name = "DarkroomUnattended"
    rule = next(rule for rule in rules() if rule["alert"] == name)
    fired = {
        "exp_labels": rule["labels"] | CASES[name].labels,
        "exp_annotations": told(rule, CASES[name]),
    }

    def test(series: dict[str, str], *at: tuple[str, list[Any]]) -> dict[str, Any]:
        return {
            "interval": "1m",
            "input_series": [{"series": key, "values": value} for key, value in series.items()],
            "alert_rule_test": [
                {"eval_time": minute, "alertname": name, "exp_alerts": alerts}
                for minute, alerts in at
            ],
        }

    run_tests(
        promtool,
        tmp_path,
        (RULES, [test(full, ("15m", []), ("17m", [fired])), test(low, ("50m", []))]),
    )


@pytest.mark.req("ING-07")
def test_a_volume_that_fills_up_is_told_long_before_the_reserve(
    promtool: str, tmp_path: Path
) -> None:
    def at(minute: str, *severities: tuple[str, str]) -> list[dict[str, Any]]:
        names = {"warning": "DarkroomStorageLow", "critical": "DarkroomStorageCritical"}
        return [
            {
                "eval_time": minute,
                "alertname": name,
                "exp_alerts": [
                    {
                        "exp_labels": {"severity": severity, "volume": "spool"},
                        "exp_annotations": {
                            "summary": f"Less than {share} of the volume spool is free.",
                            "runbook_url": f"docs/runbooks/{name}.md",
                        },
                    }
                    for wanted, share in severities
                    if wanted == severity
                ],
            }
            for severity, name in names.items()
        ]

    run_tests(
        promtool,
        tmp_path,
        (
            RULES,
            [
                {
                    "interval": "1m",
                    "input_series": [
                        {"series": STORAGE_TOTAL, "values": "100x60"},
                        {"series": STORAGE_FREE, "values": "30-1x29"},
                    ],
                    "alert_rule_test": [
                        *at("10m"),
                        *at("17m", ("warning", "20 %")),
                        *at("23m", ("warning", "20 %"), ("critical", "10 %")),
                    ],
                }
            ],
        ),
    )


def test_alertmanager_takes_its_configuration_and_tells_the_right_people() -> None:
    amtool = shutil.which("amtool")
    assert amtool, "amtool is of prometheus-alertmanager: infra/local/bootstrap.sh test"

    def run(*arguments: str) -> str:
        done = subprocess.run([amtool, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    assert "SUCCESS" in run("check-config", str(ALERTMANAGER))
    receivers = {
        "critical": "on-call",
        "escalation": "operations-manager",
        "info": "nobody",
        "warning": "administrators",
    }
    assert {rule["labels"]["severity"] for rule in rules()} == set(receivers)
    for severity, receiver in receivers.items():
        routed = run(
            "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}"
        )
        assert routed == receiver
    known = {rule["alert"] for rule in rules()}
    named = set(re.findall(r"Darkroom\w+", ALERTMANAGER.read_text()))
    assert named <= known, named - known
