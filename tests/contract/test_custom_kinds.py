"""Kinds of other projects' operators: each field is one of theirs, of its type; none is missing.

Their schemas are not to be had where the tests run; custom_kinds.yaml has the part that is used.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tests.contract.rendered import CASES, Manifest, of_kind, render
from tests.support.deployed import ROOT

KINDS: Final[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("custom_kinds.yaml").read_text()
)
BUILT_IN: Final = re.compile(
    r"^(v1|apps/v1|batch/v1|policy/v1|autoscaling/v2|networking\.k8s\.io/v1)$"
)
BESIDE: Final = sorted((ROOT / "infra" / "k8s").glob("*.yaml"))
MADE_BY_OTHERS: Final = {"darkroom-postgres-ca", "darkroom-rabbitmq-tls", "darkroom-inner-tls"}
"""By the operator of PostgreSQL, and by cert-manager."""
_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "any": lambda _: True,
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: type(value) is int,
    "seconds": lambda value: bool(re.fullmatch(r"([0-9]+(ms|s|m|h))+", str(value))),
    "quantity": lambda value: bool(re.fullmatch(r"[0-9]+(\.[0-9]+)?(m|[kMGTP]i?)?", str(value))),
}


def faults(value: Any, kind: Any, where: str) -> Iterator[str]:
    """Say what of a value is not as its kind wants it, and where."""
    if isinstance(kind, dict):
        yield from _faults_of_fields(value, kind, where)
    elif isinstance(kind, list):
        if not isinstance(value, list):
            yield f"{where}: no list"
            return
        for number, one in enumerate(value):
            yield from faults(one, kind[0], f"{where}[{number}]")
    elif not _fits(value, kind):
        yield f"{where}: {value!r} is no {kind}"


def _faults_of_fields(value: Any, kind: dict[str, Any], where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: no fields"
        return
    known = {name.rstrip("!"): one for name, one in kind.items()}
    for name in kind:
        if name.endswith("!") and value.get(name[:-1]) is None:
            yield f"{where}.{name[:-1]}: is missing"
    for name, inner in value.items():
        if name in known or "*" in known:
            yield from faults(inner, known.get(name, known.get("*")), f"{where}.{name}")
        else:
            yield f"{where}.{name}: is no field"


def _fits(value: Any, kind: str) -> bool:
    """Tell whether a value without fields is of a type."""
    if kind in _TYPES:
        return _TYPES[kind](value)
    if kind.startswith("~"):
        return isinstance(value, str) and re.fullmatch(kind[1:], value) is not None
    return value in kind.split(" | ")


def custom(manifests: list[Manifest]) -> list[Manifest]:
    return [one for one in manifests if not BUILT_IN.match(one["apiVersion"])]


def faults_of(manifests: list[Manifest]) -> list[str]:
    found = []
    for one in custom(manifests):
        name = f"{one['kind']} {one['metadata']['name']}"
        kind = KINDS[f"{one['apiVersion']} {one['kind']}"]
        own = {
            key: value
            for key, value in one.items()
            if key not in ("apiVersion", "kind", "metadata")
        }
        found += [f"{name}{fault}" for fault in faults(own, kind, "")]
    return found


def beside(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text()))


def test_the_chart_s_custom_kinds_are_as_their_operators_want_them(
    manifests: list[Manifest],
) -> None:
    assert faults_of(manifests) == []


def test_all_that_the_chart_may_make_of_others_is_looked_at(helm: str) -> None:
    seen = {one["kind"] for case in CASES.values() for one in custom(render(helm, *case))}
    assert seen == {
        *("Certificate", "ServiceMonitor", "PrometheusRule", "ScaledObject"),
        *("TriggerAuthentication", "Policy", "User", "Permission", "TopicPermission"),
    }


@pytest.mark.req("DEP-06")
@pytest.mark.parametrize("path", BESIDE, ids=lambda path: path.stem)
def test_manifests_beside_the_chart_are_as_their_operators_want_them(path: Path) -> None:
    assert faults_of(beside(path)) == []


def test_the_cluster_that_is_restored_by_hand_is_of_the_same_kind() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    (block,) = re.findall(r"```yaml\n(apiVersion: postgresql.cnpg.io/v1.*?)```", text, re.DOTALL)
    (restored,) = yaml.safe_load_all(block)
    cut = {
        "Cluster darkroom-postgres-restored.spec.instances: is missing"
    }  # `as in postgres-cluster.yaml`
    assert set(faults_of([restored])) == cut


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"secretName": None}, ".spec.secretName: is missing"),
        ({"dnsName": ["a"]}, ".spec.dnsName: is no field"),
        ({"dnsNames": "a"}, ".spec.dnsNames: no list"),
        ({"isCA": "true"}, ".spec.isCA: 'true' is no boolean"),
        ({"duration": 90}, ".spec.duration: 90 is no seconds"),
        ({"usages": ["any"]}, ".spec.usages[0]: 'any' is no digital signature | key"),
        ({"issuerRef": []}, ".spec.issuerRef: no fields"),
    ],
)
def test_what_is_wrong_is_seen(change: dict[str, Any], fault: str) -> None:
    spec = {"secretName": "s", "issuerRef": {"name": "i"}, **change}
    one = {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "c"}}
    (found,) = faults_of([{**one, "spec": {k: v for k, v in spec.items() if v is not None}}])
    assert found.startswith(f"Certificate c{fault}")


def test_the_patch_of_the_brokers_pods_is_one_of_a_pod() -> None:
    (cluster,) = of_kind(
        beside(ROOT / "infra" / "k8s" / "rabbitmq-cluster.yaml"), "RabbitmqCluster"
    )
    spec = cluster["spec"]["override"]["statefulSet"]["spec"]["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    pod["spec"] = {"containers": [{"name": "c"}], "affinity": cluster["spec"]["affinity"]}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def _named(value: Any, found: set[str]) -> None:
    """Collect the names of secrets below a value."""
    if isinstance(value, dict):
        if isinstance(value.get("secret"), dict):
            found |= {value["secret"].get("secretName") or value["secret"].get("name")}
        if isinstance(value.get("importCredentialsSecret"), dict):
            found.add(value["importCredentialsSecret"]["name"])
        for one in value.values():
            _named(one, found)
    elif isinstance(value, list):
        for one in value:
            _named(one, found)


def test_a_vault_can_have_every_secret_that_a_hospital_wants(helm: str) -> None:
    kept = of_kind(beside(ROOT / "infra" / "k8s" / "external-secrets.yaml"), "ExternalSecret")
    targets = {one["spec"]["target"]["name"] for one in kept}
    assert {one["metadata"]["name"] for one in kept} == targets
    (cluster,) = of_kind(beside(ROOT / "infra" / "k8s" / "postgres-cluster.yaml"), "Cluster")
    wanted = {cluster["spec"]["superuserSecret"]["name"]}
    _named(
        render(helm, *CASES["hospital"], "--set=backup.enabled=true,backup.place=s3://b/p"), wanted
    )
    assert wanted - MADE_BY_OTHERS == targets


@pytest.mark.req("DEP-06")
def test_argo_takes_what_is_beside_the_chart_and_nothing_of_itself() -> None:
    engines, chart = of_kind(beside(ROOT / "infra" / "k8s" / "argocd.yaml"), "Application")
    inside = engines["spec"]["source"]["directory"]["include"]
    names = set(inside.removeprefix("{").removesuffix("}.yaml").split(","))
    assert names == {path.stem for path in BESIDE} - {"argocd", "flux"}
    helm_values = chart["spec"]["source"]["helm"]
    for name in helm_values["valueFiles"]:
        assert (ROOT / "infra" / "helm" / "darkroom" / name).is_file()


@pytest.mark.req("DEP-06")
def test_nothing_goes_in_or_out_of_the_namespace_but_what_is_named() -> None:
    policies = of_kind(beside(ROOT / "infra" / "k8s" / "default-deny.yaml"), "NetworkPolicy")
    by_name = {one["metadata"]["name"]: one["spec"] for one in policies}
    deny = by_name.pop("default-deny")
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for spec in by_name.values():
        assert spec["policyTypes"] == ["Egress"]
        for rule in spec["egress"]:
            assert rule["ports"]
            for peer in rule["to"]:  # never where clouds keep the metadata of machines
                assert "ipBlock" not in peer or peer["ipBlock"]["except"]
