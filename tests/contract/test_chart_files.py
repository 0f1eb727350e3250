"""The chart's files and infra/k8s as they lie there; needs no helm."""

import json
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from darkroom_common.amqp.permissions import as_one
from darkroom_common.settings import PREFIX
from darkroom_common.topology import render_policies
from tests.support.chart_values import PAGE, page
from tests.support.deployed import ROOT, SERVICES, SETTINGS, is_secret

CHART: Final = ROOT / "infra" / "helm" / "darkroom"
SCHEMA: Final[dict[str, Any]] = json.loads((CHART / "values.schema.json").read_text())
# What the chart itself decides, in templates/_pod.tpl.
DECIDED: Final = {
    "licence_directory",
    "trace_directory",  # a cluster has a collector
    "security_log",  # a cluster takes the stream from standard output
    "health_host",
    "health_port",
    "drain_seconds",
    "hand_over_seconds",
    "store_url",
    "exports_url",
    "spool",
    "dicom_host",
    "dicom_port",
    "http_host",
    "http_port",
    # by api.tls
    "http_tls_certificate",
    "http_tls_key",
    "http_tls_minimum",
    "metrics_targets",
    "metrics_targets_path",
    # where the api and ingest meet
    "stow_host",
    "stow_port",
    "ingest_stow_host",
    "ingest_stow_port",
    # by tls
    "tls_certificate",
    "tls_key",
    "tls_ca",
    "ingest_dicom_tls",
    "ingest_dicom_ca",
    "ingest_dicom_name",
    # by dicom.tls
    "dicom_tls_port",
    "dicom_tls_certificate",
    "dicom_tls_key",
    "dicom_tls_client_ca",
    "dicom_tls_clients",
    "dicom_tls_minimum",
    "dicom_tls_strict",
    "hl7_host",  # by hl7
    "hl7_port",
    "worklist_directory",  # a cluster has HL7 and REST
    # by commitment, and by tls, destinations and scratch of a service
    "commitment_host",
    "commitment_port",
    "dicom_tls_ca",
    "destinations_file",
    "scratch",
}
CUSTOM: Final = (
    *("RabbitmqCluster", "Cluster", "Issuer", "Certificate"),
    *("ObjectStore", "ScheduledBackup"),
    *("SecretStore", "ExternalSecret", "Application", "OCIRepository", "HelmRelease"),
)
REQUIRED_BY_SECURITY: Final = {
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def objects(schema: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return every schema with named properties below a schema."""
    found = []
    if isinstance(schema, dict):
        if "properties" in schema and not path.endswith(("/if", "/then")):
            found.append((path, schema))
        for name, value in schema.items():
            found += objects(value, f"{path}/{name}")
    return found


def test_the_schema_is_closed_everywhere() -> None:
    open_ones = [
        path for path, schema in objects(SCHEMA) if schema.get("additionalProperties") is not False
    ]
    assert open_ones == []


def test_the_default_values_say_everything_that_the_schema_knows() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values) == set(SCHEMA["properties"]) - {"global"}
    for service in SERVICES:
        known = SCHEMA["properties"]["services"]["properties"][service]["properties"]
        assert set(values["services"][service]) == set(known)


@pytest.mark.parametrize("service", SERVICES)
def test_the_schema_has_every_setting_of_a_service_that_is_not_a_secret(service: str) -> None:
    known = SCHEMA["properties"]["services"]["properties"][service]["properties"]["settings"]
    settings = SETTINGS[service]
    wanted = {
        field.upper()
        for field in settings.model_fields
        if field not in DECIDED and not is_secret(settings, field)
    }
    assert set(known["properties"]) == wanted, PREFIX


def test_the_policies_of_the_chart_are_those_of_the_topology() -> None:
    """`make policies` writes them."""
    assert json.loads((CHART / "files" / "policies.json").read_text()) == render_policies("/")
    assert json.loads((CHART / "files" / "permissions.json").read_text()) == as_one("/")


def test_the_page_of_values_is_what_values_yaml_says() -> None:
    """`make values` writes it."""
    assert PAGE.read_text() == page()
    text = PAGE.read_text()
    assert "| `dicom.tls.port` | `2762` |" in text
    assert "| `services.ingest.settings.AE_TITLE` |" in text


def test_the_chart_is_of_the_version_of_the_services() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    for service in SERVICES:
        project = (ROOT / "services" / service / "pyproject.toml").read_text()
        assert f'version = "{chart["appVersion"]}"' in project


@pytest.mark.req("DEP-06")
def test_manifests_beside_the_chart_are_valid() -> None:
    kinds, archives = [], set[str]()
    for path in sorted((ROOT / "infra" / "k8s").glob("*.yaml"), reverse=True):
        text = path.read_text()
        assert text.startswith("#"), f"{path.name} does not say what it is for"
        for manifest in yaml.safe_load_all(text):
            kinds.append(manifest["kind"])
            if manifest["kind"] not in CUSTOM:
                kubernetes_validate.validate(
                    manifest, kubernetes_validate.latest_version(), strict=True
                )
            if manifest["kind"] == "Namespace":
                labels = manifest["metadata"]["labels"]
                assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
                continue
            own = manifest["kind"] != "Application"  # those are where Argo is
            assert manifest["metadata"]["namespace"] == ("darkroom" if own else "argocd")
            if manifest["kind"] == "Cluster":
                parameters = manifest["spec"]["postgresql"]["parameters"]
                assert parameters.items() >= REQUIRED_BY_SECURITY.items()
                assert manifest["spec"]["instances"] >= 2
                (plugin,) = manifest["spec"]["plugins"]
                assert plugin["isWALArchiver"] is True
                archives.add(plugin["parameters"]["barmanObjectName"])
            if manifest["kind"] == "ObjectStore":
                archives.remove(manifest["metadata"]["name"])
                assert manifest["spec"]["retentionPolicy"] == "30d"
            if manifest["kind"] == "RabbitmqCluster":
                assert manifest["spec"]["replicas"] == 3
                assert manifest["spec"]["tls"]["disableNonTLSListeners"] is True
    assert archives == set()  # where WAL goes is there
    assert {"Namespace", "RabbitmqCluster", "Cluster", "NetworkPolicy"} <= set(kinds)
