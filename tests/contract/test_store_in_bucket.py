"""Objects in a bucket, and a second store, in the chart and in compose."""

from typing import Any

import pytest
import yaml

from darkroom_common.objects.s3.location import Location
from tests.contract.rendered import BUCKET, component, of_kind, pods, render, run_helm, settings_of
from tests.support.deployed import ROOT

FIVE = {"ingest", "metadata", "transmit", "print", "api"}


def test_the_chart_says_where_the_bucket_is_and_has_its_keys_at_hand(helm: str) -> None:
    manifests = render(helm, *BUCKET)
    for service in FIVE:
        url = settings_of(manifests, service)["DARKROOM_STORE_URL"]
        place = Location.parse(url, setting="STORE_URL")
        assert (place.bucket, place.prefix) == ("images", "clinic/")
        assert (place.endpoint, place.addressing) == ("https://s3.example:9000", "path")
        assert str(place.credentials) == "/run/secrets/store/credentials"
        assert str(place.authority) == "/run/secrets/store/ca.crt"
    mounted: dict[str, set[str]] = {}
    for _, pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            for mount in container.get("volumeMounts", []):
                mounted.setdefault(mount["mountPath"], set()).add(component(pod))
    assert mounted["/run/secrets/store"] == {*FIVE, "backup"}
    assert "/var/lib/darkroom/objects" not in mounted
    assert mounted["/var/lib/darkroom/exports"] == {"api"}  # still on the volume
    (policy,) = [
        one
        for one in of_kind(manifests, "NetworkPolicy")
        if one["metadata"]["name"].endswith("-store")
    ]
    (expression,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert set(expression["values"]) == {*FIVE, "backup"}


def test_without_a_bucket_the_chart_is_as_it_was(helm: str) -> None:
    manifests = render(helm)
    for service in FIVE:
        found = settings_of(manifests, service)["DARKROOM_STORE_URL"]
        assert found == "file:///var/lib/darkroom/objects"


def test_the_role_of_a_pod_needs_no_secret(helm: str) -> None:
    manifests = render(helm, "--set=objectStore.s3.bucket=images,objectStore.s3.region=eu-west-1")
    place = Location.parse(settings_of(manifests, "api")["DARKROOM_STORE_URL"], setting="STORE_URL")
    assert (place.region, place.credentials, place.endpoint) == ("eu-west-1", None, None)
    for _, pod in pods(manifests):
        assert "store" not in {one["name"] for one in pod["spec"].get("volumes", [])}


@pytest.mark.parametrize(
    "wrong", ["bucket=A_B", "endpoint=https://key:secret@host", "region=a/b", "secret=planted"]
)
def test_what_is_no_bucket_is_refused(helm: str, wrong: str) -> None:
    assert run_helm(helm, f"--set=objectStore.s3.{wrong}").returncode != 0


def test_compose_gives_a_bucket_to_whoever_has_the_store() -> None:
    base: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    bucket: dict[str, Any] = yaml.safe_load((ROOT / "compose.s3.yaml").read_text())["services"]
    has = {n for n, one in base.items() if "DARKROOM_STORE_URL" in (one.get("environment") or {})}
    assert set(bucket) == has == {*FIVE, "backup", "ship"}
    for one in bucket.values():
        assert one["environment"]["DARKROOM_STORE_URL"].startswith("${DARKROOM_STORE_URL:?")
        assert "outside" in one["networks"]


def test_the_chart_has_keys_and_credentials_of_the_second_store_at_hand(helm: str) -> None:
    at = "services.metadata.replication"
    policy = "networkPolicy.replication.to[0].ipBlock.cidr=192.0.2.0/24"
    manifests = render(helm, f"--set={at}.existingSecret=second,{at}.keys=site-keys,{policy}")
    mounted: dict[str, set[str]] = {}
    told: dict[str, str] = {}
    for _, pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            for mount in container.get("volumeMounts", []):
                mounted.setdefault(mount["mountPath"], set()).add(component(pod))
            told |= {one["name"]: one.get("value", "") for one in container.get("env", [])}
    assert mounted["/run/secrets/replication"] == {"metadata"}
    assert told["DARKROOM_REPLICATION_KEYS_FILE"] == "/run/secrets/replication/site-keys"
    (found,) = [
        one
        for one in of_kind(manifests, "NetworkPolicy")
        if one["metadata"]["name"].endswith("-replication")
    ]
    assert found["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "metadata"
    plain = render(helm)
    assert "DARKROOM_REPLICATION_KEYS_FILE" not in str(plain)


def test_compose_gives_a_second_store_to_metadata_alone() -> None:
    more: dict[str, Any] = yaml.safe_load((ROOT / "compose.replication.yaml").read_text())
    assert set(more["services"]) == {"metadata"}
    metadata = more["services"]["metadata"]
    assert metadata["environment"]["DARKROOM_REPLICATION_URL"].startswith("${DARKROOM_REPLICATION")
    assert metadata["volumes"] == ["${DARKROOM_REPLICATION:-./replication}:/run/replication:ro"]
    assert "outside" in metadata["networks"]
    base: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert "DARKROOM_REPLICATION_KEYS_FILE" in base["metadata"]["environment"]
