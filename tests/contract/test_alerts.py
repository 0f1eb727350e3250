"""The rules of Prometheus: valid, about metrics that there are, each with a page that helps."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from darkroom_common.telemetry import metrics
from tests.support.deployed import ROOT

RULES: Final = ROOT / "infra" / "helm" / "darkroom" / "files" / "alerts.yaml"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def series() -> set[str]:
    return {name for row in metrics.rows().values() for name in row.series}


def test_rules_speak_of_metrics_that_there_are() -> None:
    for rule in rules():
        named = set(re.findall(r"darkroom_[a-z0-9_]+", rule["expr"]))
        assert named, rule["alert"]
        assert named <= series(), rule["alert"]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    names = {rule["alert"] for rule in rules()}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == names
    for rule in rules():
        page = ROOT / rule["annotations"]["runbook"]
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
                            "runbook": f"docs/runbooks/{name}.md",
                        },
                    }
                    for wanted, share in severities
                    if wanted == severity
                ],
            }
            for severity, name in names.items()
        ]

    case = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": 'darkroom_storage_total_bytes{volume="spool"}', "values": "100x60"},
                    {"series": 'darkroom_storage_free_bytes{volume="spool"}', "values": "30-1x29"},
                ],
                "alert_rule_test": [
                    *at("10m"),
                    *at("17m", ("warning", "20 %")),
                    *at("23m", ("warning", "20 %"), ("critical", "10 %")),
                ],
            }
        ],
    }
    test = tmp_path / "test.yaml"
    test.write_text(yaml.safe_dump(case))
    done = subprocess.run(
        [promtool, "test", "rules", test], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
