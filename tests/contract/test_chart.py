"""The chart, rendered with each values file. `make setup` installs helm."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Final

import kubernetes_validate
import pytest
import yaml

from darkroom_common.settings import Settings, SettingsBase
from darkroom_common.topology import render_policies
from tests.contract.rendered import (
    CASES,
    EVERYTHING,
    Manifest,
    component,
    environment,
    inner_tls,
    of_kind,
    pods,
    render,
    run_helm,
    selected,
    settings_of,
)
from tests.support.deployed import (
    SERVICES,
    SETTINGS,
    WITH_SCHEMA,
    check_environment,
    command_settings,
)

POSTGRES_CA: Final = "/run/secrets/darkroom/postgres-ca.crt"
AMQP_CA: Final = "/run/secrets/darkroom/amqp-ca.crt"
KUBERNETES: Final = tuple(f"1.{minor}" for minor in range(28, 35))
CUSTOM: Final = {
    ("rabbitmq.com/v1beta1", "Policy"),
    ("rabbitmq.com/v1beta1", "User"),
    ("rabbitmq.com/v1beta1", "Permission"),
    ("rabbitmq.com/v1beta1", "TopicPermission"),
    ("cert-manager.io/v1", "Certificate"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("keda.sh/v1alpha1", "TriggerAuthentication"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
}


@cache
def validate_once(manifest: str) -> None:
    """Check against each version; most manifests are the same with all values."""
    for version in KUBERNETES:
        # Another version's schema, for want of its own, would be but a warning.
        assert kubernetes_validate.validate(json.loads(manifest), version, strict=True) == version


@pytest.mark.req("DEP-05")
def test_every_manifest_is_valid(manifests: list[Manifest]) -> None:
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(set(names)) == len(names)
    for manifest in manifests:
        if (manifest["apiVersion"], manifest["kind"]) not in CUSTOM:
            validate_once(json.dumps(manifest))


@pytest.mark.req("DEP-03", "DEP-04")
def test_every_container_is_locked_down(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
        assert all("hostPath" not in volume for volume in spec["volumes"])
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_receiving_goes_before_every_other_service(manifests: list[Manifest]) -> None:
    wanted = {
        container["name"]: container["resources"]["requests"]["cpu"]
        for _, pod in pods(manifests)
        for container in pod["spec"]["containers"]
        if container["name"] in SERVICES
    }
    shares = {
        name: int(cpu[:-1]) if cpu.endswith("m") else 1000 * int(cpu)
        for name, cpu in wanted.items()
    }
    assert shares.pop("ingest") > max(shares.values())


def test_a_cluster_may_say_as_whom_pods_run(helm: str) -> None:
    for name, pod in pods(render(helm, "--set=arbitraryUser=true", EVERYTHING)):
        assert pod["spec"]["securityContext"] == {
            "runAsNonRoot": True,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name


def test_services_are_probed_and_have_time_to_drain(manifests: list[Manifest]) -> None:
    workloads = of_kind(manifests, "Deployment", "StatefulSet")
    assert {component(manifest) for manifest in workloads} == set(SERVICES)
    for manifest in workloads:
        spec = manifest["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        for probe, path in (
            ("startup", "/livez"),
            ("liveness", "/livez"),
            ("readiness", "/readyz"),
        ):
            asked = container[f"{probe}Probe"]["httpGet"]
            scheme = "HTTPS" if inner_tls(manifests) else "HTTP"
            assert asked == {"path": path, "port": "health", "scheme": scheme}
        assert {"name": "health", "containerPort": 9090} in container["ports"]
        drain = float(settings_of(manifests, component(manifest))["DARKROOM_DRAIN_SECONDS"])
        assert spec["terminationGracePeriodSeconds"] >= drain + 15
        hand_over = float(settings_of(manifests, component(manifest))["DARKROOM_HAND_OVER_SECONDS"])
        if component(manifest) in ("ingest", "api"):  # others have no clients who stay
            (word, option, hook) = container["lifecycle"]["preStop"]["exec"]["command"]
            assert (word, option) == ("python", "-c")
            assert "os.kill(1, signal.SIGUSR2)" in hook
            assert hook.endswith(f"({hand_over:.0f})")
            waits = sum(int(one) for one in re.findall(r"\((\d+)\)", hook))
            assert spec["terminationGracePeriodSeconds"] >= waits + drain + 15
        assert spec["serviceAccountName"] == manifest["metadata"]["name"]
    (ingest,) = of_kind(manifests, "StatefulSet")
    (claim,) = ingest["spec"]["volumeClaimTemplates"]
    assert (component(ingest), claim["metadata"]["name"]) == ("ingest", "spool")


def test_settings_are_those_of_the_program(
    manifests: list[Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for manifest in of_kind(manifests, "Deployment", "StatefulSet", "Job", "Pod"):
        pod = manifest["spec"].get("template", manifest)
        (container,) = pod["spec"]["containers"]
        told = environment(container)
        program: type[SettingsBase]
        if manifest["kind"] in ("Job", "Pod"):
            program = command_settings(container["args"])
        else:
            program = SETTINGS[component(manifest)]
            told |= settings_of(manifests, component(manifest))
            assert container["envFrom"] == [
                {"configMapRef": {"name": manifest["metadata"]["name"]}}
            ]
        loaded = check_environment(program, told, tmp_path / program.__name__, monkeypatch)
        if isinstance(loaded, Settings):
            assert loaded.health_port == 9090


def test_secrets_are_files_of_secrets_that_exist_elsewhere(manifests: list[Manifest]) -> None:
    assert of_kind(manifests, "Secret") == []
    for name, pod in pods(manifests):
        (container,) = pod["spec"]["containers"]
        files = {v for k, v in environment(container).items() if k.endswith("_FILE")}
        (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "secrets"]
        assert volume["projected"]["defaultMode"] == 0o440
        mounted = {
            f"/run/secrets/darkroom/{item['path']}"
            for source in volume["projected"]["sources"]
            for item in source["secret"]["items"]
        }
        assert files == mounted - {POSTGRES_CA, AMQP_CA}, name
        urls = {"postgres-url", "migration-url", "superuser-url"}
        needs = urls & {Path(file).name for file in files}
        assert (POSTGRES_CA in mounted) <= bool(needs), name


def test_the_hospital_s_pods_have_the_authority_of_its_database(helm: str) -> None:
    found = 0
    rendered = run_helm(helm, *CASES["hospital"])
    for name, pod in pods(list(yaml.safe_load_all(rendered.stdout))):
        (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "secrets"]
        items = [i for s in volume["projected"]["sources"] for i in s["secret"]["items"]]
        if any(item["path"].endswith("-url") and "amqp" not in item["path"] for item in items):
            assert {"key": "ca.crt", "path": Path(POSTGRES_CA).name} in items, name
            found += 1
    assert found > 6


def test_large_numbers_and_lists_reach_the_service_whole(helm: str) -> None:
    manifests = render(helm, EVERYTHING)
    ingest = settings_of(manifests, "ingest")
    assert ingest["DARKROOM_RESERVE_BYTES"] == "10737418240"
    assert json.loads(ingest["DARKROOM_PRIVATE_SOP_CLASSES"]) == ["1.2.3"]
    assert ingest["DARKROOM_REQUIRE_CALLED_AE_TITLE"] == "true"


@pytest.mark.req("DEP-04")
def test_the_network_is_closed_but_for_what_is_named(manifests: list[Manifest]) -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in of_kind(manifests, "NetworkPolicy")}
    deny = policies["darkroom-deny"]
    assert sorted(deny["policyTypes"]) == ["Egress", "Ingress"]
    assert not {"ingress", "egress"} & set(deny)
    for name, pod in pods(manifests):
        labels = pod["metadata"]["labels"]
        assert selected(deny["podSelector"], labels), name
        setup = selected(policies["darkroom-setup"]["podSelector"], labels)
        services = selected(policies["darkroom-services"]["podSelector"], labels)
        assert setup + services == (labels["app.kubernetes.io/component"] != "trial")
    for policy in policies.values():
        for rule in [*policy.get("ingress", []), *policy.get("egress", [])]:
            assert rule["ports"]
            assert rule.get("from") or rule.get("to")
    (ingest,) = of_kind(manifests, "StatefulSet")
    (container,) = ingest["spec"]["template"]["spec"]["containers"]
    assert policies["darkroom-dicom"]["ingress"][0]["ports"] == [
        {"protocol": "TCP", "port": port["name"]}
        for port in container["ports"]
        if port["name"] not in ("health", "stow")
    ]
    (from_api,) = policies["darkroom-stored"]["ingress"]
    assert from_api["ports"] == [{"protocol": "TCP", "port": "stow"}]
    (api,) = (peer["podSelector"]["matchLabels"] for peer in from_api["from"])
    assert api["app.kubernetes.io/component"] == "api"


def test_services_find_their_pods_and_ports(manifests: list[Manifest]) -> None:
    workloads = [m["spec"]["template"] for m in of_kind(manifests, "Deployment", "StatefulSet")]
    names = {m["metadata"]["name"] for m in of_kind(manifests, "Service")}
    assert {"darkroom-dicom", "darkroom-api", "darkroom-ingest-pods"} <= names
    for service in of_kind(manifests, "Service"):
        (pod,) = [
            pod
            for pod in workloads
            if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ]
        offered = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= offered


def test_every_service_may_lose_one_pod_at_a_time(manifests: list[Manifest]) -> None:
    budgets = {component(m): m["spec"] for m in of_kind(manifests, "PodDisruptionBudget")}
    assert set(budgets) == set(SERVICES)
    assert all(budget["maxUnavailable"] == 1 for budget in budgets.values())


def test_migrations_run_before_an_installation_and_around_an_upgrade(helm: str) -> None:
    def jobs(*arguments: str) -> dict[str, tuple[str, list[str]]]:
        rendered = yaml.load_all(run_helm(helm, *arguments).stdout, yaml.CSafeLoader)
        return {
            job["metadata"]["name"].removeprefix("darkroom-"): (
                job["metadata"]["annotations"]["helm.sh/hook"],
                job["spec"]["template"]["spec"]["containers"][0]["args"],
            )
            for job in rendered
            if job and job["kind"] == "Job"
        }

    before = "pre-install,pre-upgrade"
    installation, upgrade = jobs(), jobs("--is-upgrade")
    for service in WITH_SCHEMA:
        assert installation[f"migrate-{service}"] == (before, ["migrate"])
        assert upgrade[f"migrate-{service}"] == (before, ["migrate", "pre"])
        assert upgrade[f"finish-{service}"] == ("post-upgrade", ["migrate", "post"])
    assert len(upgrade) == 2 * len(WITH_SCHEMA)
    assert jobs("--set=migration.before=pre")["migrate-api"][1] == ["migrate", "pre"]
    assert "bootstrap" in jobs("--set=bootstrap.existingSecret=b")


def test_there_are_values_for_every_place() -> None:
    places = {"development", "testing", "staging", "small-clinic", "hospital"}
    assert places <= set(CASES)


def test_nothing_leaves_staging_or_tests_by_mistake(helm: str) -> None:
    """No destination or printer outside of the cluster, and no sender of the world."""
    for place in ("testing", "staging"):
        manifests = render(helm, *CASES[place])
        for policy in of_kind(manifests, "NetworkPolicy"):
            name, spec = policy["metadata"]["name"], policy["spec"]
            peers = [peer for rule in spec.get("ingress", []) for peer in rule["from"]]
            if name.endswith("-destinations"):
                peers += [peer for rule in spec.get("egress", []) for peer in rule["to"]]
            networks = {peer["ipBlock"]["cidr"] for peer in peers if "ipBlock" in peer}
            assert not networks & {"0.0.0.0/0", "::/0"}, (place, name)


@pytest.mark.req("DEP-05")
def test_the_hospital_has_no_single_pod_and_the_topology_s_policies(helm: str) -> None:
    manifests = render(helm, *CASES["hospital"])
    workloads = of_kind(manifests, "Deployment", "StatefulSet")
    least = {m["metadata"]["name"]: m["spec"].get("replicas") for m in workloads}
    for one in of_kind(manifests, "ScaledObject"):
        least[one["spec"]["scaleTargetRef"]["name"]] = one["spec"]["minReplicaCount"]
    for one in of_kind(manifests, "HorizontalPodAutoscaler"):
        least[one["spec"]["scaleTargetRef"]["name"]] = one["spec"]["minReplicas"]
    assert all(number is not None and number >= 2 for number in least.values())
    assert [
        {
            "vhost": policy["vhost"],
            "name": policy["name"],
            "pattern": policy["pattern"],
            "apply-to": policy["applyTo"],
            "priority": policy["priority"],
            "definition": policy["definition"],
        }
        for policy in (m["spec"] for m in of_kind(manifests, "Policy"))
    ] == render_policies("/")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("tls.certManager.enabled=true", "issuerRef"),
        ("nonsense=1", "nonsense"),
        ("services.api.nonsense=1", "nonsense"),
        ("services.ingest.settings.JWT_KEY=x", "JWT_KEY"),
        ("settings.LOG_LEVEL=LOUD", "LOG_LEVEL"),
        ("services.print.resources.limits=null", "limits"),
        ("secrets.keys.existingSecret=", "existingSecret"),
        ("api.ingress.enabled=true", "tlsSecret"),
        ("brokerPolicies.mode=magic", "mode"),
    ],
)
def test_wrong_values_are_refused_by_name(helm: str, wrong: str, said: str) -> None:
    refused = run_helm(helm, f"--set={wrong}")
    assert refused.returncode != 0
    assert said in refused.stderr


def test_tls_is_a_port_of_ingest_and_a_secret_that_is_read_again(helm: str) -> None:
    manifests = render(helm, EVERYTHING)
    told = settings_of(manifests, "ingest")
    files = {
        "CERTIFICATE": "/run/secrets/dicom-tls/tls.crt",
        "KEY": "/run/secrets/dicom-tls/tls.key",
        "CLIENT_CA": "/run/secrets/dicom-tls/ca.crt",
        "CLIENTS": "required",
        "MINIMUM": "1.2",
        "PORT": "2762",
    }
    assert {f"DARKROOM_DICOM_TLS_{name}": value for name, value in files.items()}.items() <= (
        told.items()
    )
    assert told["DARKROOM_UNKNOWN_AE"] == "reject"
    (ingest,) = of_kind(manifests, "StatefulSet")
    pod = ingest["spec"]["template"]["spec"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "dicom-tls"]
    assert mount == {
        "name": "dicom-tls",
        "mountPath": "/run/secrets/dicom-tls",
        "readOnly": True,
    }  # without a subPath, which would never change
    (service,) = [
        m for m in of_kind(manifests, "Service") if m["metadata"]["name"] == ("darkroom-dicom")
    ]
    ports = {port["name"]: port for port in service["spec"]["ports"]}
    assert (ports["dicom-tls"]["port"], ports["dicom-tls"]["nodePort"]) == (2762, 30276)
    (api,) = [
        m for m in of_kind(manifests, "Deployment") if m["metadata"]["name"] == "darkroom-api"
    ]
    assert all(v["name"] != "dicom-tls" for v in api["spec"]["template"]["spec"]["volumes"])
