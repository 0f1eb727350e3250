"""The chart as helm renders it."""

import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import yaml

from tests.support.deployed import ROOT

Manifest = dict[str, Any]
CHART: Final = ROOT / "infra" / "helm" / "darkroom"
EVERYTHING: Final = (
    "--set=bootstrap.existingSecret=b,brokerPolicies.mode=job,serviceMonitor.enabled=true,"
    "api.ingress.enabled=true,api.ingress.host=h.example,api.ingress.tlsSecret=t,"
    "services.ingest.settings.PRIVATE_SOP_CLASSES={1.2.3},settings.OTLP_ENDPOINT=http://otlp:4318,"
    "dicom.tls.existingSecret=t,dicom.tls.clientCaKey=ca.crt,dicom.tls.nodePort=30276,"
    "commitment.enabled=true,commitment.service.nodePort=30113,"
    "services.transmit.tls.existingSecret=shown,services.transmit.tls.caKey=ca.crt,"
    "services.print.tls.existingSecret=shown,services.transmit.destinations.existingSecret=d,"
    "services.transmit.scratch.storageClass=fast,"
    "tls.existingSecret=inner,dicom.tls.serverName=pacs.example,brokerPolicies.job.passwordsKey=p,"
    "api.tls.existingSecret=web,api.tls.minimum=1.3,secrets.amqp.ca.existingSecret=broker,"
    "services.ingest.settings.RESERVE_BYTES=10737418240,image.pullSecrets={pull},"
    "backup.enabled=true,backup.existingClaim=elsewhere"
)
_S3: Final = (
    "--set=objectStore.s3.bucket=images,objectStore.s3.prefix=clinic,"
    "objectStore.s3.endpoint=https://s3.example:9000,objectStore.s3.existingSecret=store,"
    "objectStore.s3.authorityKey=ca.crt"
)
BUCKET: Final = (
    _S3,
    "--set=backup.enabled=true,backup.place=s3://kept/clinic?region=eu",
    '--set-json=networkPolicy.store={"to":[{"ipBlock":{"cidr":"10.1.0.0/16"}}],"port":9000}',
)
CASES: Final[dict[str, tuple[str, ...]]] = {
    "default": (),
    **{
        path.stem.removeprefix("values-"): (f"--values={path}",)
        for path in sorted(CHART.glob("values-*.yaml"))
    },
    "everything": (EVERYTHING,),
    "bucket": BUCKET,
    "upgrade": (f"--values={CHART}/values-hospital.yaml", "--is-upgrade"),
}


@cache
def run_helm(
    helm: str, *arguments: str, release: str = "darkroom"
) -> "subprocess.CompletedProcess[str]":
    """Render once for each set of values."""
    return subprocess.run(
        [helm, "template", release, CHART, "--namespace=darkroom", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for manifest in of_kind(manifests, "Deployment", "StatefulSet", "Job"):
        yield manifest["metadata"]["name"], manifest["spec"]["template"]
    for manifest in of_kind(manifests, "CronJob"):
        yield manifest["metadata"]["name"], manifest["spec"]["jobTemplate"]["spec"]["template"]
    for manifest in of_kind(manifests, "Pod"):  # the trial
        yield manifest["metadata"]["name"], manifest


def component(manifest: Manifest) -> str:
    return str(manifest["metadata"]["labels"]["app.kubernetes.io/component"])


def inner_tls(manifests: list[Manifest]) -> str | None:
    """The secret with the certificate that the services show each other, if they do."""
    found = {
        volume["secret"]["secretName"]
        for manifest in of_kind(manifests, "Deployment", "StatefulSet")
        for volume in manifest["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "inner-tls"
    }
    assert len(found) <= 1
    return found.pop() if found else None


def selected(selector: Manifest, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    for expression in selector.get("matchExpressions", []):
        inside = labels.get(expression["key"]) in expression["values"]
        if inside is not (expression["operator"] == "In"):
            return False
    return bool(selector["matchLabels"].items() <= labels.items())


def settings_of(manifests: list[Manifest], service: str) -> dict[str, str]:
    (found,) = [m for m in of_kind(manifests, "ConfigMap") if component(m) == service]
    return dict(found["data"])


def environment(container: Manifest) -> dict[str, str]:
    assert all(set(variable) == {"name", "value"} for variable in container["env"])
    return {variable["name"]: variable["value"] for variable in container["env"]}


def render(helm: str, *arguments: str, release: str = "darkroom") -> list[Manifest]:
    """Return all manifests."""
    rendered = run_helm(helm, *arguments, release=release)
    assert rendered.returncode == 0, rendered.stderr
    return [document for document in yaml.load_all(rendered.stdout, yaml.CSafeLoader) if document]
