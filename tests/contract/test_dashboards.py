"""The dashboards: what Grafana loads is made of the panels, about metrics that there are."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from darkroom_common.telemetry import metrics
from darkroom_local.monitoring.dashboards import REFRESH, name_of, render
from darkroom_local.monitoring.panels import DASHBOARDS, expressions
from tests.support.deployed import ROOT

FOLDER: Final = ROOT / "infra" / "helm" / "darkroom" / "files" / "dashboards"
NAMED: Final = {
    # 000: dashboards for system administrators
    "Operations": {
        "Service Status",
        "DB/MQ Connectivity",
        "Queue Depth (Main & DLQ)",
        "DICOM Storage Free Space %",
        "Server CPU Utilization",
        "Server Memory Utilization",
    },
    # 002, 10.4
    "API": {
        "Request Rate",
        "Response Time (P95)",
        "Error Rate",
        "Active Users",
        "Database Connections",
        "Cache Hit Rate",
    },
}


def test_what_grafana_loads_is_made_of_the_panels() -> None:
    made = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert made == {f"{name_of(title)}.json": render(title) for title in DASHBOARDS}, (
        "make dashboards"
    )


@pytest.mark.parametrize("title", DASHBOARDS)
def test_a_dashboard_is_whole(title: str) -> None:
    told: dict[str, Any] = json.loads((FOLDER / f"{name_of(title)}.json").read_text())
    assert told["refresh"] == REFRESH == "1m"
    assert told["uid"] == name_of(title)
    titles = [panel["title"] for panel in told["panels"]]
    assert len(set(titles)) == len(titles) >= 10
    assert set(titles) >= NAMED.get(title, set())
    assert len({panel["id"] for panel in told["panels"]}) == len(titles)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in told["panels"]}
    assert len(places) == len(titles)
    for panel in told["panels"]:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"


def test_panels_speak_of_metrics_that_there_are() -> None:
    known = {name for row in metrics.rows().values() for name in row.series}
    for title, panel, expression in expressions():
        named = set(re.findall(r"darkroom_[a-z0-9_]+", expression))
        assert named or re.search(r"\b(up|ALERTS|process_\w+)\b", expression)
        assert named <= known, f"{title}: {panel.title}: {named - known}"


def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression}
        for number, (_, _, expression) in enumerate(expressions())
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
