"""What linters of Kubernetes ask for (kube-linter's default checks, kubescape's), by their names.

Neither can be installed from Python's or npm's registry or from Debian: the rules are these tests.
test_chart.py holds some of them, too: root, capabilities, privileges, limits, host paths.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

from tests.contract.rendered import CASES, Manifest, of_kind, pods, render, selected

_SECRET: Final = re.compile(r"(PASSWORD|TOKEN|SECRET|_KEY|_KEYS|CREDENTIALS)$")
_PORT_NAME: Final = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_LENGTHS: Final = {"Service": 63, "Job": 63, "StatefulSet": 52, "CronJob": 52}
"""The most characters of a name; of others 253."""
_LABEL: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
WITH_TEMPLATE: Final = ("Deployment", "StatefulSet")


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for name, pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            yield f"{name}/{container['name']}", container


def test_images_have_a_tag_that_is_not_the_latest(manifests: list[Manifest]) -> None:
    """latest-tag."""
    for name, container in containers(manifests):
        repository, _, tag = container["image"].rpartition(":")
        assert repository, name
        assert tag != "latest", name


def test_no_variable_is_a_secret_and_none_is_there_twice(manifests: list[Manifest]) -> None:
    """env-var-secret, duplicate-env-var, env-value-from."""
    for name, container in containers(manifests):
        names = [one["name"] for one in container.get("env", [])]
        assert [one for one, times in Counter(names).items() if times > 1] == [], name
        assert [one for one in names if _SECRET.search(one)] == [], name


def test_ports_are_named_and_no_shell_is_offered(manifests: list[Manifest]) -> None:
    """invalid-target-ports, ssh-port, privileged-ports, liveness-port, readiness-port."""
    for name, container in containers(manifests):
        ports = {one["name"]: one["containerPort"] for one in container.get("ports", [])}
        for port, number in ports.items():
            assert len(port) <= 15, (name, port)
            assert _PORT_NAME.fullmatch(port), (name, port)
            assert number > 1024, (name, port)
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            assert container.get(probe, {"httpGet": {"port": "health"}})["httpGet"]["port"] in {
                *ports,
                "health",
            }, name


def test_every_selector_takes_the_pods_of_its_own_workload_alone(manifests: list[Manifest]) -> None:
    """mismatching-selector, and two workloads that would fight over a pod."""
    workloads = of_kind(manifests, *WITH_TEMPLATE)
    for one in workloads:
        assert selected(one["spec"]["selector"], one["spec"]["template"]["metadata"]["labels"])
    for one, other in combinations(workloads, 2):
        labels = other["spec"]["template"]["metadata"]["labels"]
        assert not selected(one["spec"]["selector"], labels), one["metadata"]["name"]


def test_service_accounts_are_there_and_are_not_the_default(manifests: list[Manifest]) -> None:
    """non-existent-service-account, access-to-secrets, default-service-account."""
    made = {one["metadata"]["name"] for one in of_kind(manifests, "ServiceAccount")}
    for name, pod in pods(manifests):
        assert pod["spec"]["serviceAccountName"] in made, name
    rights = of_kind(manifests, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    assert rights == []  # nothing of Darkroom asks the API of Kubernetes


def test_replicas_are_spread(helm: str) -> None:
    """no-anti-affinity: by topologySpreadConstraints, which do the same and fit any number."""
    for case in ("hospital", "staging"):
        for one in of_kind(render(helm, *CASES[case]), *WITH_TEMPLATE):
            spread = one["spec"]["template"]["spec"]["topologySpreadConstraints"]
            assert "kubernetes.io/hostname" in {rule["topologyKey"] for rule in spread}
            for rule in spread:
                labels = one["spec"]["template"]["metadata"]["labels"]
                assert selected(rule["labelSelector"], labels)


def test_a_budget_lets_nodes_be_emptied(manifests: list[Manifest]) -> None:
    """pdb-max-unavailable, pdb-min-available, pdb-unhealthy-pod-eviction-policy."""
    for one in of_kind(manifests, "PodDisruptionBudget"):
        assert one["spec"]["maxUnavailable"] >= 1
        assert "minAvailable" not in one["spec"]
        assert one["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_jobs_end(manifests: list[Manifest]) -> None:
    """job-ttl-seconds-after-finished: hooks remove what has succeeded, and each has a deadline."""
    for job in of_kind(manifests, "Job"):
        annotations = job["metadata"]["annotations"]
        assert "before-hook-creation" in annotations["helm.sh/hook-delete-policy"]
        assert job["spec"]["activeDeadlineSeconds"] > 0
    for job in of_kind(manifests, "CronJob"):
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        assert job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0


def test_nothing_is_shared_with_the_host_or_among_containers(manifests: list[Manifest]) -> None:
    """host-*, docker-sock, sensitive-host-mounts, unsafe-sysctls, unsafe-proc-mount."""
    for name, pod in pods(manifests):
        spec = pod["spec"]
        assert not {"shareProcessNamespace", "hostAliases", "hostUsers"} & set(spec), name
        assert "sysctls" not in spec["securityContext"], name
        for container in spec["containers"]:
            assert "procMount" not in container["securityContext"], name
            assert all("hostPort" not in port for port in container.get("ports", [])), name
            assert container.get("stdin", False) is False, name


def test_names_and_labels_hold_for_the_longest_release(helm: str) -> None:
    """What is 63 characters too long only where somebody has a long name for a release."""
    release = "a-release-of-a-hospital-with-a-long-name-of-53-letter"
    assert len(release) == 53  # the most that Helm takes
    for one in render(helm, *CASES["hospital"], release=release):
        name = one["metadata"]["name"]
        assert _NAME.fullmatch(name), name
        assert len(name) <= _LENGTHS.get(one["kind"], 253), name
        for value in one["metadata"].get("labels", {}).values():
            assert _LABEL.fullmatch(str(value)), (name, value)


def test_two_releases_in_a_namespace_have_nothing_of_one_name(helm: str) -> None:
    def names(release: str) -> set[tuple[str, str]]:
        made = render(helm, *CASES["hospital"], release=release)
        return {(one["kind"], one["metadata"]["name"]) for one in made}

    assert names("first") & names("second") == set()


def test_ports_of_services_reach_ports_of_pods_and_policies_name_both(
    manifests: list[Manifest],
) -> None:
    """dangling-service, dangling-networkpolicy, dangling-horizontalpodautoscaler."""
    offered: set[Any] = set()
    for _, container in containers(manifests):
        offered |= {port["name"] for port in container.get("ports", [])}
    labels = [pod["metadata"]["labels"] for _, pod in pods(manifests)]
    for policy in of_kind(manifests, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            named = {port["port"] for port in rule["ports"] if isinstance(port["port"], str)}
            assert named <= offered, policy["metadata"]["name"]
        assert any(selected(policy["spec"]["podSelector"], one) for one in labels)
    targets = {(m["kind"], m["metadata"]["name"]) for m in of_kind(manifests, *WITH_TEMPLATE)}
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        reference = scaler["spec"]["scaleTargetRef"]
        assert (reference["kind"], reference["name"]) in targets
