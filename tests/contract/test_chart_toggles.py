"""No value of the chart is without effect: each switch makes what it says, each other is found."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.contract.rendered import CHART, Manifest, render, run_helm

pytestmark = pytest.mark.req("DEP-04")
VALUES: Final[dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text())
DIGEST: Final = "sha256:" + "5" * 60
ISSUER: Final = "tls.certManager.issuerRef.name=authority"
Effect = tuple[str, frozenset[str]]
"""What happens to manifests (`+` made, `-` gone, `~` changed), and their kinds."""


def effect(how: str, *kinds: str) -> Effect:
    return how, frozenset(kinds)


WORKLOADS: Final = ("Deployment", "StatefulSet")
SWITCHES: Final[dict[str, tuple[str, Effect]]] = {
    # path: (what else has to be set, what switching it does)
    "alerts.enabled": ("", effect("+", "PrometheusRule")),
    "api.ingress.enabled": (
        "api.ingress.host=h.example,api.ingress.tlsSecret=t",
        effect("+", "Ingress"),
    ),
    "arbitraryUser": ("", effect("~", *WORKLOADS, "Job", "Pod")),
    "backup.enabled": ("backup.existingClaim=c", effect("+", "CronJob", "ServiceAccount")),
    "commitment.enabled": ("", effect("+~", "Service", "NetworkPolicy", "Deployment", "ConfigMap")),
    "dashboards.enabled": ("", effect("+", "ConfigMap")),
    "dicom.tls.strict": (
        "dicom.tls.existingSecret=t,dicom.tls.clientCaKey=ca.crt",
        effect("~", "ConfigMap", "StatefulSet"),
    ),
    "hl7.enabled": (
        "networkPolicy.hl7From[0].ipBlock.cidr=10.0.0.0/8",
        effect("+~", "Service", "NetworkPolicy", "StatefulSet", "ConfigMap"),
    ),
    "migration.enabled": ("", effect("-", "Job")),
    "migration.post": ("", effect("-", "Job")),
    "networkPolicy.enabled": ("", effect("-", "NetworkPolicy")),
    "podDisruptionBudget.enabled": ("", effect("-", "PodDisruptionBudget")),
    "preflight.enabled": ("", effect("")),  # asks a cluster: test_chart_preflight.py
    "scaling.api.enabled": ("", effect("+~", "HorizontalPodAutoscaler", "Deployment")),
    "scaling.enabled": ("", effect("+~", "ScaledObject", "TriggerAuthentication", "Deployment")),
    "serviceMonitor.enabled": ("", effect("+", "ServiceMonitor")),
    "services.ingest.settings.REQUIRE_CALLED_AE_TITLE": (
        "",
        effect("~", "ConfigMap", "StatefulSet"),
    ),
    "services.print.tls.certificate": (
        "services.print.tls.existingSecret=t",
        effect("~", "ConfigMap", "Deployment"),
    ),
    "services.transmit.tls.certificate": (
        "services.transmit.tls.existingSecret=t",
        effect("~", "ConfigMap", "Deployment"),
    ),
    "tls.certManager.enabled": (
        ISSUER,
        effect("+~", "Certificate", *WORKLOADS, "ConfigMap", "Service", "NetworkPolicy", "Pod"),
    ),
    "topologySpread.enabled": ("", effect("~", *WORKLOADS)),
}
# One of several words, or what has a form of its own: the value that it is tried with.
WORDS: Final[dict[str, Any]] = {
    "backup.schedule": "7 7 * * *",
    "backup.place": "s3://x-place/y",
    "brokerPolicies.mode": "operator",
    "dicom.tls.clients": "optional",
    "dicom.tls.minimum": "1.3",
    "api.tls.minimum": "1.3",
    "image.pullPolicy": "Always",
    "migration.before": "pre",
    "objectStore.accessModes": ["ReadWriteOnce"],
    "objectStore.s3.endpoint": "https://x-endpoint.example",
    "settings.LOG_LEVEL": "WARNING",
    "services.ingest.settings.UNKNOWN_AE": "accept",
    "services.ingest.settings.AE_TITLE": "XTITLE",
    "tls.certManager.issuerRef.kind": "ClusterIssuer",
    "topologySpread.whenUnsatisfiable": "DoNotSchedule",
    "trial.aeTitle": "XTRIAL",
    **{f"{name}.service.type": "NodePort" for name in ("dicom", "commitment", "hl7")},
    "api.service.type": "NodePort",
    **{
        f"{name}.service.externalTrafficPolicy": "Cluster"
        for name in ("dicom", "commitment", "hl7")
    },
}
# What is of no account where another value is set, and the context in which it counts.
CONTEXTS: Final[tuple[dict[str, Any], ...]] = (
    {"objectStore.existingClaim": "", "objectStore.s3.bucket": "", "backup.place": ""},
    {"brokerPolicies.mode": "job", "tls.certManager.enabled": True, "tls.existingSecret": ""},
    {
        f"{name}.service.{what}": value
        for name in ("dicom", "commitment", "hl7")
        for what, value in (("type", "LoadBalancer"), ("nodePort", None))
    }
    | {f"services.{name}.digest": "" for name in VALUES["services"]}
    | {"backup.digest": "", "dicom.tls.existingSecret": "", "trial.existingSecret": ""}
    | {"tls.certManager.enabled": False},
)


def leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its path; an empty list or dictionary is one."""
    if isinstance(values, dict) and values:
        for name, value in values.items():
            yield from leaves(value, f"{path}.{name}" if path else name)
    else:
        yield path, values


LEAVES: Final = dict(leaves(VALUES))


def other(path: str, value: Any, number: int) -> Any:
    """A value that is found again in what is rendered."""
    name, mark = path.rpartition(".")[2], f"x{number:03}"
    if path in WORDS or isinstance(value, bool):
        made = WORDS.get(path, value)
    elif name == "digest":
        made = DIGEST + f"{number:04}"
    elif name == "nodePort":
        made = 30_000 + number
    elif isinstance(value, int):
        few = {"cpuPercent": 77, "minReplicas": 2, "replicas": 3}
        made = value + 1 if ".settings." in path else few.get(name, 20_000 + number)
    elif isinstance(value, list | dict):
        made = _several(path, name, mark, number)
    elif unit := re.fullmatch(r"[0-9]+(Mi|Gi|h|s|m)|()[0-9]+", value):
        made = f"{number + 1000}{unit[1] or 'm'}".replace("Gi", "Mi")
    else:
        made = mark
    return made


def _several(path: str, name: str, mark: str, number: int) -> Any:
    selected = {"labelSelector": {"matchLabels": {mark: "here"}}, "topologyKey": "zone"}
    if path.startswith("networkPolicy"):
        return [{"podSelector": {"matchLabels": {mark: "here"}}}]
    return {
        "affinity": {
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [selected]}
        },
        "loadBalancerSourceRanges": [f"10.0.{number % 250}.0/24"],
        "tolerations": [{"key": mark}],
        "annotations": {mark: "here"},
        "podAnnotations": {mark: "here"},
        "nodeSelector": {mark: "here"},
        "labels": {mark: "here"},
    }.get(name, [mark])


def shown(path: str, made: Any) -> str:
    """How that stands in what is rendered."""
    if ".settings." in path:
        return f"{path.rpartition('.')[2]}: {json.dumps(str(made))}"
    if str(made).startswith("https://"):  # within a URL, where it is escaped
        return str(made).removeprefix("https://")
    text = json.dumps(made)
    found = re.search(r"x[0-9]{3}|10\.0\.[0-9]+\.0/24", text) if not isinstance(made, str) else None
    return found[0] if found else str(made[0] if isinstance(made, list) else made)


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path, value in flat.items():
        *parts, last = path.split(".")
        place = made
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return made


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(m["kind"], m["metadata"]["name"]): m for m in manifests}


@pytest.mark.parametrize("path", SWITCHES)
def test_a_switch_does_what_it_says_and_nothing_else(helm: str, path: str) -> None:
    beside, (how, kinds) = SWITCHES[path]
    upgrade = ("--is-upgrade",) if path == "migration.post" else ()
    was = LEAVES.get(path, True)
    arguments = [f"--set={beside}"] if beside else []
    before = by_name(render(helm, *upgrade, *arguments))
    after = by_name(render(helm, *upgrade, *arguments, f"--set={path}={json.dumps(not was)}"))
    seen = {
        "+": {kind for kind, _ in after.keys() - before.keys()},
        "-": {kind for kind, _ in before.keys() - after.keys()},
        "~": {name[0] for name in before.keys() & after.keys() if before[name] != after[name]},
    }
    assert {sign for sign, found in seen.items() if found} == set(how)
    assert set().union(*seen.values()) == kinds


def test_every_switch_is_tried() -> None:
    switches = {path for path, value in LEAVES.items() if isinstance(value, bool)}
    assert switches <= set(SWITCHES)


@cache
def everything_otherwise(helm: str) -> list[str]:
    """What is rendered when all values are others, once for each context."""
    switched = {path: True for path, value in LEAVES.items() if isinstance(value, bool)}
    switched["arbitraryUser"] = False
    marked = {path: other(path, value, n) for n, (path, value) in enumerate(LEAVES.items())}
    texts = []
    for context in CONTEXTS:
        given = nested(marked | switched | context)
        rendered = run_helm(helm, f"--set-json={_json(given)}")
        assert rendered.returncode == 0, rendered.stderr
        texts.append(rendered.stdout)
    return texts


def _json(values: dict[str, Any]) -> str:
    return ",".join(f"{name}={json.dumps(value)}" for name, value in values.items())


def test_every_other_value_is_found_in_what_is_rendered(helm: str) -> None:
    texts = everything_otherwise(helm)
    marks = {
        path: shown(path, other(path, value, number))
        for number, (path, value) in enumerate(LEAVES.items())
        if not isinstance(value, bool)
    }
    lost = {path: mark for path, mark in marks.items() if not any(mark in text for text in texts)}
    assert lost == {}


def test_a_file_of_values_sets_nothing_that_the_chart_does_not_have() -> None:
    for file in sorted(Path(CHART).glob("values-*.yaml")):
        given = dict(leaves(yaml.safe_load(file.read_text())))
        unknown = {
            path
            for path in given
            if path not in LEAVES and not re.search(r"\.settings\.[A-Z_]+$", path)
        }
        assert {p for p in unknown if not any(k.startswith(f"{p}.") for k in LEAVES)} == set(), file
