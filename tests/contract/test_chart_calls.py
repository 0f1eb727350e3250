"""What transmit and print need of the chart: calls in and out, certificates, room and memory."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.contract.rendered import (
    BUCKET,
    EVERYTHING,
    Manifest,
    component,
    of_kind,
    pods,
    render,
    run_helm,
    selected,
    settings_of,
)
from tests.support.deployed import (
    LESS_THAN,
    SETTINGS,
    WITH_WORKERS,
    check_environment,
    memory_needed,
)

UNITS: Final = {"Mi": 1 << 20, "Gi": 1 << 30}
CALLERS: Final = ("transmit", "print")
CLINIC: Final = {"ipBlock": {"cidr": "10.0.0.0/8"}}
ONLY_THE_CLINIC: Final = "--set-json=" + ",".join(
    f"networkPolicy.{name}={json.dumps([CLINIC])}"
    for name in ("dicomFrom", "commitmentFrom", "destinationsTo")
)


def workload(manifests: list[Manifest], service: str) -> Manifest:
    (found,) = [
        m for m in of_kind(manifests, "Deployment", "StatefulSet") if component(m) == service
    ]
    return found


def pod_of(manifests: list[Manifest], service: str) -> Manifest:
    return dict(workload(manifests, service)["spec"]["template"]["spec"])


def mounted(manifests: list[Manifest], service: str, name: str) -> tuple[Manifest, Manifest]:
    """Return the volume of a name and where it is mounted."""
    pod = pod_of(manifests, service)
    (volume,) = [v for v in pod["volumes"] if v["name"] == name]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == name]
    return volume, mount


def size(quantity: str) -> int:
    match = re.fullmatch(r"(\d+)(Mi|Gi)", quantity)
    assert match, quantity
    return int(match[1]) * UNITS[match[2]]


def rules(manifests: list[Manifest], service: str, way: str) -> list[tuple[Any, Any]]:
    """Return the pairs of peer and port that the policies let a service's pods talk to."""
    labels = workload(manifests, service)["spec"]["template"]["metadata"]["labels"]
    end = {"ingress": "from", "egress": "to"}[way]
    return [
        (peer, port)
        for policy in of_kind(manifests, "NetworkPolicy")
        if selected(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get(way, [])
        for peer in rule[end]
        for port in rule["ports"]
    ]


def test_the_port_of_storage_commitment_is_closed_unless_it_is_wanted(helm: str) -> None:
    manifests = render(helm)
    assert "DARKROOM_COMMITMENT_PORT" not in settings_of(manifests, "transmit")
    names = {m["metadata"]["name"] for m in manifests}
    assert "darkroom-commitment" not in names
    (container,) = pod_of(manifests, "transmit")["containers"]
    assert [port["name"] for port in container["ports"]] == ["health"]


@pytest.mark.req("TRX-06")
def test_destinations_can_report_storage_commitment(helm: str) -> None:
    manifests = render(
        helm,
        EVERYTHING,
        "--set=commitment.service.loadBalancerSourceRanges={10.0.0.0/8}",
        "--set=commitment.service.annotations.of=clouds",
    )
    assert settings_of(manifests, "transmit")["DARKROOM_COMMITMENT_PORT"] == "11113"
    pod = pod_of(manifests, "transmit")
    assert {"name": "commitment", "containerPort": 11113} in pod["containers"][0]["ports"]
    assert "preStop" in pod["containers"][0]["lifecycle"]
    (service,) = [
        m for m in of_kind(manifests, "Service") if m["metadata"]["name"] == "darkroom-commitment"
    ]
    assert service["metadata"]["annotations"] == {"of": "clouds"}
    spec = service["spec"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert spec["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert spec["ports"] == [
        {"name": "commitment", "port": 11113, "targetPort": "commitment", "nodePort": 30113}
    ]
    labels = workload(manifests, "transmit")["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= labels.items()
    allowed = [
        peer
        for peer, port in rules(manifests, "transmit", "ingress")
        if port == {"protocol": "TCP", "port": "commitment"}
    ]
    assert {"ipBlock": {"cidr": "0.0.0.0/0"}} in allowed


def test_orders_come_by_hl7_where_it_is_wanted_and_from_whom_is_named(helm: str) -> None:
    assert "DARKROOM_HL7_PORT" not in settings_of(render(helm), "ingest")
    manifests = render(
        helm, "--set=hl7.enabled=true", "--set=networkPolicy.hl7From[0].ipBlock.cidr=10.0.0.0/8"
    )
    assert settings_of(manifests, "ingest")["DARKROOM_HL7_PORT"] == "2575"
    ports = pod_of(manifests, "ingest")["containers"][0]["ports"]
    assert {"name": "hl7", "containerPort": 2575} in ports
    (service,) = [m for m in of_kind(manifests, "Service") if m["metadata"]["name"].endswith("hl7")]
    assert service["spec"]["ports"] == [{"name": "hl7", "port": 2575, "targetPort": "hl7"}]
    who = [
        peer
        for peer, port in rules(manifests, "ingest", "ingress")
        if port == {"protocol": "TCP", "port": "hl7"}
    ]
    assert who == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]


def test_a_closed_network_lets_in_and_out_what_is_named_and_what_c_get_brings(helm: str) -> None:
    manifests = render(helm, ONLY_THE_CLINIC, "--set=commitment.enabled=true")
    anywhere = {"protocol": "TCP", "port": 1, "endPort": 65535}
    dicom = {"protocol": "TCP", "port": "dicom"}
    pods = {
        service: {
            "podSelector": {
                "matchLabels": {
                    "app.kubernetes.io/name": "darkroom",
                    "app.kubernetes.io/instance": "darkroom",
                    "app.kubernetes.io/component": service,
                }
            }
        }
        for service in ("transmit", "ingest", "api", "trial")
    }
    stow = {"protocol": "TCP", "port": "stow"}
    assert (pods["ingest"], stow) in rules(manifests, "api", "egress")
    for service in CALLERS:
        out = rules(manifests, service, "egress")
        assert (CLINIC, anywhere) in out
        assert ((pods["ingest"], dicom) in out) is (service == "transmit")
    assert rules(manifests, "ingest", "ingress") == [
        (CLINIC, dicom),
        (pods["transmit"], dicom),
        (pods["api"], stow),
        (pods["trial"], dicom),
    ]
    assert rules(manifests, "transmit", "ingress") == [
        (CLINIC, {"protocol": "TCP", "port": "commitment"})
    ]
    assert rules(manifests, "print", "ingress") == []


@pytest.mark.parametrize("service", CALLERS)
def test_nobody_is_shown_a_certificate_unless_a_secret_is_named(helm: str, service: str) -> None:
    manifests = render(helm, "--set=dicom.tls.existingSecret=of-ingest")
    assert not [name for name in settings_of(manifests, service) if "TLS" in name]
    assert "dicom-tls" not in {v["name"] for v in pod_of(manifests, service)["volumes"]}


@pytest.mark.parametrize("service", CALLERS)
@pytest.mark.parametrize(
    ("more", "files"),
    [
        ("", {"CERTIFICATE": "tls.crt", "KEY": "tls.key"}),
        ("caKey=ca.crt", {"CERTIFICATE": "tls.crt", "KEY": "tls.key", "CA": "ca.crt"}),
        ("caKey=ca.crt,certificate=false", {"CA": "ca.crt"}),
    ],
)
def test_certificates_for_calls_are_files_of_a_secret(
    helm: str, service: str, more: str, files: dict[str, str]
) -> None:
    values = ["existingSecret=own", *(more.split(",") if more else [])]
    manifests = render(
        helm, "--set=" + ",".join(f"services.{service}.tls.{value}" for value in values)
    )
    prefix = "DARKROOM_DICOM_TLS_"
    told = {k: v for k, v in settings_of(manifests, service).items() if k.startswith(prefix)}
    assert told == {f"{prefix}{k}": f"/run/secrets/dicom-tls/{v}" for k, v in files.items()}
    volume, mount = mounted(manifests, service, "dicom-tls")
    assert volume["secret"] == {"secretName": "own", "defaultMode": 0o440}
    assert (mount["mountPath"], mount["readOnly"]) == ("/run/secrets/dicom-tls", True)
    other = {"transmit": "print", "print": "transmit"}[service]
    assert "dicom-tls" not in {v["name"] for v in pod_of(manifests, other)["volumes"]}
    (container,) = pod_of(manifests, service)["containers"]
    assert "dicom-tls" not in {port["name"] for port in container["ports"]}


def test_destinations_may_come_from_a_secret(helm: str) -> None:
    manifests = render(
        helm,
        "--set=services.transmit.destinations.existingSecret=d,"
        "services.transmit.destinations.key=all.json",
    )
    file = settings_of(manifests, "transmit")["DARKROOM_DESTINATIONS_FILE"]
    volume, mount = mounted(manifests, "transmit", "destinations")
    (item,) = volume["secret"]["items"]
    assert item["key"] == "all.json"
    assert (f"{mount['mountPath']}/{item['path']}", mount["readOnly"]) == (file, True)


@pytest.mark.parametrize("service", CALLERS)
def test_scratch_is_a_volume_of_its_own(manifests: list[Manifest], service: str) -> None:
    volume, mount = mounted(manifests, service, "scratch")
    assert mount == {"name": "scratch", "mountPath": "/var/lib/darkroom/scratch"}
    assert settings_of(manifests, service)["DARKROOM_SCRATCH"] == mount["mountPath"]
    if "emptyDir" in volume:
        assert set(volume["emptyDir"]) == {"sizeLimit"}  # on disk, not in memory
        room = volume["emptyDir"]["sizeLimit"]
    else:
        claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
        assert claim["storageClassName"] == "fast"
        room = claim["resources"]["requests"]["storage"]
    assert size(room) >= 5 << 30


@pytest.mark.parametrize("service", WITH_WORKERS)
def test_workers_get_their_memory_error_before_the_pod_is_killed(
    manifests: list[Manifest], service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (container,) = pod_of(manifests, service)["containers"]
    secrets = {v["name"]: v["value"] for v in container["env"]}
    told = settings_of(manifests, service) | secrets
    settings = check_environment(SETTINGS[service], told, tmp_path, monkeypatch)
    limit = size(container["resources"]["limits"]["memory"])
    assert limit >= memory_needed(settings)


@pytest.mark.req("DEP-09")
def test_every_container_of_the_standard_values_has_less_than_four_gigabytes(helm: str) -> None:
    found = list(pods(render(helm)))
    for name, pod in found:
        (container,) = pod["spec"]["containers"]
        assert size(container["resources"]["limits"]["memory"]) < LESS_THAN, name
        assert float(container["resources"]["limits"]["cpu"].replace("500m", "0.5")) <= 2, name
    assert len(found) > len(SETTINGS)


@pytest.mark.parametrize(
    "wrong",
    [
        "services.transmit.settings.COMMITMENT_PORT=11113",
        "services.transmit.settings.SCRATCH=/tmp",
        "services.print.settings.DICOM_TLS_CA=/ca",
        "services.print.tls.caKey=ca.crt",
        "services.print.scratch.size=much",
        "services.print.scratch=null",
    ],
)
def test_what_the_chart_decides_or_cannot_do_is_refused(helm: str, wrong: str) -> None:
    with pytest.raises(AssertionError, match=wrong.split("=", maxsplit=1)[0].rpartition(".")[2]):
        render(helm, f"--set={wrong}")


@pytest.mark.parametrize("everywhere", ["0.0.0.0/0", "::/0"])
def test_no_pod_reaches_the_metadata_of_its_machine(helm: str, everywhere: str) -> None:
    """Whoever may call everywhere still may not call where clouds hand out credentials."""
    open_ = json.dumps([{"ipBlock": {"cidr": everywhere, "except": ["198.51.100.0/24"]}}])
    names = ("destinationsTo", "postgres.to", "rabbitmq.to", "otlp.to", "dns.to")
    told = ",".join(f"networkPolicy.{name}={open_}" for name in names)
    never = {
        "0.0.0.0/0": {"169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32"},
        "::/0": {"fd00:ec2::254/128", "fd20:ce::254/128", "fe80::/10"},
    }[everywhere]
    for given in ((), (EVERYTHING,), (EVERYTHING, f"--set-json={told}")):
        manifests = render(helm, *given)
        for policy in of_kind(manifests, "NetworkPolicy"):
            for rule in policy["spec"].get("egress", []):
                for peer in rule.get("to", []):
                    block = peer.get("ipBlock", {})
                    if block.get("cidr") == everywhere:
                        assert never <= set(block["except"]), policy["metadata"]["name"]
    blocks = [
        peer["ipBlock"]
        for policy in of_kind(manifests, "NetworkPolicy")
        for rule in policy["spec"].get("egress", [])
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]
    assert blocks
    assert all("198.51.100.0/24" in block["except"] for block in blocks)


def test_https_of_the_api_is_a_secret_that_is_read_again(helm: str) -> None:
    manifests = render(helm, EVERYTHING)
    told = settings_of(manifests, "api")
    assert {name: value for name, value in told.items() if "HTTP_TLS" in name} == {
        "DARKROOM_HTTP_TLS_CERTIFICATE": "/run/secrets/http-tls/tls.crt",
        "DARKROOM_HTTP_TLS_KEY": "/run/secrets/http-tls/tls.key",
        "DARKROOM_HTTP_TLS_MINIMUM": "1.3",
    }
    volume, mount = mounted(manifests, "api", "http-tls")
    assert volume["secret"]["secretName"] == "web"
    assert (mount["mountPath"], mount["readOnly"]) == ("/run/secrets/http-tls", True)
    assert "subPath" not in mount
    assert "http-tls" not in {v["name"] for v in pod_of(manifests, "ingest")["volumes"]}


def test_every_service_has_the_authority_of_the_broker(helm: str) -> None:
    manifests = render(helm, EVERYTHING)
    for manifest in of_kind(manifests, "Deployment", "StatefulSet"):
        volume, _ = mounted(manifests, component(manifest), "secrets")
        (item,) = [
            item
            for source in volume["projected"]["sources"]
            if source["secret"]["name"] == "broker"
            for item in source["secret"]["items"]
        ]
        assert item == {"key": "ca.crt", "path": "amqp-ca.crt"}


@pytest.mark.req("STO-05")
def test_backups_are_made_on_a_schedule_with_the_least_rights(helm: str) -> None:
    assert of_kind(render(helm), "CronJob") == []
    manifests = render(helm, EVERYTHING)
    (job,) = of_kind(manifests, "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["image"].endswith("/local:0.1.0")
    assert container["args"] == ["backup", "/var/lib/darkroom/backups", "--keep=30"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/var/lib/darkroom/objects"]["readOnly"] is True
    assert "readOnly" not in mounts["/var/lib/darkroom/backups"]
    claims = {v["name"]: v.get("persistentVolumeClaim") for v in pod["spec"]["volumes"]}
    assert claims["backups"] == {"claimName": "elsewhere"}
    told = {one["name"]: one["value"] for one in container["env"]}
    assert told["DARKROOM_STORE_URL"] == "file:///var/lib/darkroom/objects"


@pytest.mark.req("STO-05")
def test_backups_go_to_a_bucket_of_another_place(helm: str) -> None:
    there = (
        '--set-json=networkPolicy.backup={"to":[{"ipBlock":{"cidr":"10.9.0.0/16"}}],"port":9000}'
    )
    manifests = render(helm, *BUCKET, there)
    (job,) = of_kind(manifests, "CronJob")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["args"][:2] == ["backup", "s3://kept/clinic?region=eu"]
    assert {m["name"] for m in container["volumeMounts"]} == {
        "tmp",
        "secrets",
        "credentials",
        "store",
    }
    out = [
        (peer, port["port"])
        for policy in of_kind(manifests, "NetworkPolicy")
        if selected(policy["spec"]["podSelector"], pod["metadata"]["labels"])
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        for port in rule["ports"]
    ]
    assert ({"ipBlock": {"cidr": "10.9.0.0/16"}}, 9000) in out
    assert ({"ipBlock": {"cidr": "10.1.0.0/16"}}, 9000) in out  # objects are read from there
    nowhere = run_helm(helm, "--set=backup.enabled=true")
    assert "backup.place" in nowhere.stderr
