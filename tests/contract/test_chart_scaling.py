"""How many pods there are: by queues with KEDA, by processors; never two that decide."""

from darkroom_common.topology import WORK_QUEUES
from tests.contract.rendered import CASES, component, of_kind, render

QUEUES = {queue.name for queue in WORK_QUEUES}


def test_workers_are_scaled_by_their_own_queues(helm: str) -> None:
    manifests = render(helm, *CASES["hospital"])
    scaled = {component(m): m["spec"] for m in of_kind(manifests, "ScaledObject")}
    assert set(scaled) == {"metadata", "transmit", "print"}
    for service, spec in scaled.items():
        for trigger in spec["triggers"]:
            queue = trigger["metadata"]["queueName"]
            assert queue in QUEUES
            assert queue.startswith(f"{service}.")  # another's it may not look at
        assert spec["minReplicaCount"] <= spec["maxReplicaCount"]
    logins = {component(m): m["spec"] for m in of_kind(manifests, "TriggerAuthentication")}
    for service, spec in logins.items():
        by_parameter = {one["parameter"]: one for one in spec["secretTargetRef"]}
        assert by_parameter["host"]["key"] == f"amqp-url-{service}"
        assert by_parameter["ca"]["name"] == "darkroom-rabbitmq-tls"
        (told,) = spec["configMapTargetRef"]
        assert told["parameter"] == "tls"
        (named,) = [
            m for m in of_kind(manifests, "ConfigMap") if m["metadata"]["name"] == told["name"]
        ]
        assert named["data"][told["key"]] == "enable"


def test_what_is_scaled_has_no_replicas_and_what_is_not_has(helm: str) -> None:
    for arguments, scaled in (
        ((), set()),
        (("--set=scaling.enabled=true",), {"metadata", "transmit", "print"}),
        (("--set=scaling.api.enabled=true",), {"api"}),
    ):
        manifests = render(helm, *arguments)
        workloads = of_kind(manifests, "Deployment", "StatefulSet")
        assert {component(m) for m in workloads if "replicas" not in m["spec"]} == scaled
        targets = of_kind(manifests, "ScaledObject", "HorizontalPodAutoscaler")
        assert {component(m) for m in targets} == scaled
