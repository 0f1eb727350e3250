"""What the standard values of chart and compose want: two processors, 4 GB, 50 connections."""

from pathlib import Path
from typing import Final

import pytest

from darkroom_common.settings import Settings
from tests.contract.rendered import component, of_kind, render, settings_of
from tests.contract.test_chart_calls import size
from tests.contract.test_compose import environment
from tests.support.deployed import (
    MOST_CONNECTIONS,
    SERVICES,
    SETTINGS,
    check_environment,
    connections_needed,
)

pytestmark = pytest.mark.req("DEP-09")
MOST_CPU: Final = 2000
MOST_MEMORY: Final = 4 << 30


def _cpu(text: str) -> int:
    return int(text[:-1]) if text.endswith("m") else 1000 * int(text)


def test_services_of_compose_open_at_most_50_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = {}
    for name in SERVICES:
        told = environment(name)
        settings = check_environment(SETTINGS[name], told, tmp_path / name, monkeypatch)
        assert isinstance(settings, Settings)
        counted[name] = connections_needed(settings)
    assert sum(counted.values()) <= MOST_CONNECTIONS, counted


def test_services_of_the_chart_open_at_most_50_connections(
    helm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = render(helm)
    counted = {}
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        name = component(workload)
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        told = settings_of(manifests, name) | {v["name"]: v["value"] for v in container["env"]}
        settings = check_environment(SETTINGS[name], told, tmp_path / name, monkeypatch)
        assert isinstance(settings, Settings)
        counted[name] = workload["spec"]["replicas"] * connections_needed(settings)
    assert set(counted) == set(SERVICES)
    assert sum(counted.values()) <= MOST_CONNECTIONS, counted


def test_the_chart_s_services_ask_for_two_processors_and_4_gb_in_all(helm: str) -> None:
    manifests = render(helm)
    asked = [
        (workload["spec"]["replicas"], container["resources"]["requests"])
        for workload in of_kind(manifests, "Deployment", "StatefulSet")
        for container in workload["spec"]["template"]["spec"]["containers"]
    ]
    assert sum(replicas * _cpu(one["cpu"]) for replicas, one in asked) <= MOST_CPU
    assert sum(replicas * size(one["memory"]) for replicas, one in asked) <= MOST_MEMORY
