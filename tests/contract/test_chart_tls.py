"""TLS on every link of a cluster, and a user of the broker for each service."""

import re
from datetime import timedelta

import pytest

from darkroom_common.amqp.permissions import render_permissions, render_topic_permissions
from tests.contract.rendered import CASES, CHART, inner_tls, of_kind, pods, render, settings_of
from tests.support.deployed import SERVICES


@pytest.mark.req("BRK-01")
@pytest.mark.parametrize("place", ["staging", "hospital"])
def test_every_link_of_a_cluster_is_over_tls(helm: str, place: str) -> None:
    manifests = render(helm, *CASES[place])
    (certificate,) = of_kind(manifests, "Certificate")
    named = certificate["spec"]["dnsNames"]
    assert inner_tls(manifests) == certificate["spec"]["secretName"] == "darkroom-inner-tls"
    for service in SERVICES:
        told = settings_of(manifests, service)
        assert told["DARKROOM_TLS_CA"] == "/run/secrets/inner-tls/ca.crt"
    assert settings_of(manifests, "api")["DARKROOM_INGEST_STOW_HOST"] in named
    transmit = settings_of(manifests, "transmit")
    if place == "hospital":  # in staging a certificate of the house is shown to modalities
        assert transmit["DARKROOM_INGEST_DICOM_TLS"] == "true"
        assert transmit["DARKROOM_INGEST_DICOM_HOST"] in named
        assert transmit["DARKROOM_INGEST_DICOM_PORT"] == "2762"
    (monitor,) = of_kind(manifests, "ServiceMonitor")
    assert {endpoint["scheme"] for endpoint in monitor["spec"]["endpoints"]} == {"https"}
    files = {
        item["path"]
        for _, pod in pods(manifests)
        for volume in pod["spec"]["volumes"]
        if volume["name"] == "secrets"
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    assert {"amqp-ca.crt", "postgres-ca.crt"} <= files
    assert not any("5672" in str(m["spec"]) for m in of_kind(manifests, "NetworkPolicy"))


@pytest.mark.req("DEP-08")
def test_certificates_are_made_anew_within_a_year_and_before_the_first_alert(helm: str) -> None:
    """cert-manager does so; what an installation has of its own is told by the same alerts."""
    (certificate,) = of_kind(render(helm, *CASES["hospital"]), "Certificate")
    duration, before = (
        timedelta(hours=int(certificate["spec"][name].removesuffix("h")))
        for name in ("duration", "renewBefore")
    )
    assert duration <= timedelta(days=365)
    rules = (CHART / "files" / "alerts.yaml").read_text()
    found = re.search(r"expires_timestamp_seconds - time\(\) < (\d+) \* 86400", rules)
    assert found is not None
    assert timedelta(days=int(found[1])) < before < duration


@pytest.mark.req("BRK-01")
def test_each_service_is_a_user_of_its_own_with_the_least_rights(helm: str) -> None:
    manifests = render(helm, *CASES["hospital"])
    users = {m["spec"]["importCredentialsSecret"]["name"] for m in of_kind(manifests, "User")}
    assert users == {f"darkroom-rabbitmq-user-{service}" for service in SERVICES}
    granted = [
        {"user": m["spec"]["user"], "vhost": m["spec"]["vhost"], **m["spec"]["permissions"]}
        for m in of_kind(manifests, "Permission")
    ]
    assert granted == render_permissions("/")
    topics = [
        {"user": m["spec"]["user"], "vhost": m["spec"]["vhost"], **m["spec"]["permissions"]}
        for m in of_kind(manifests, "TopicPermission")
    ]
    assert topics == render_topic_permissions("/")
    keys = set()
    for manifest in of_kind(manifests, "Deployment", "StatefulSet"):
        (volume,) = [
            v for v in manifest["spec"]["template"]["spec"]["volumes"] if v["name"] == "secrets"
        ]
        items = [i for s in volume["projected"]["sources"] for i in s["secret"]["items"]]
        keys |= {item["key"] for item in items if item["path"] == "amqp-url"}
    assert keys == {f"amqp-url-{service}" for service in SERVICES}
