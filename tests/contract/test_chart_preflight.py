"""What a cluster lacks is said in words, before anything is changed.

The cluster is a small server here that answers as the API of Kubernetes does.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.contract.rendered import CASES, CHART
from tests.support.deployed import SERVICES

CORE: Final = {"namespaces": "Namespace", "secrets": "Secret"}
SECRETS: Final = "/api/v1/namespaces/darkroom/secrets"
OPERATORS: Final = (
    "monitoring.coreos.com/v1",
    "cert-manager.io/v1",
    "rabbitmq.com/v1beta1",
    "keda.sh/v1alpha1",
)


@dataclass
class Cluster:
    """As much of the API of Kubernetes as Helm asks before it makes something."""

    operators: set[str] = field(default_factory=set)
    secrets: dict[str, list[str]] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)
    changed: list[str] = field(default_factory=list)

    def answer(self, path: str) -> dict[str, Any] | None:
        kinds = {name: (kind, name != "namespaces") for name, kind in CORE.items()}
        storage = {"storageclasses": ("StorageClass", False)}
        known: dict[str, dict[str, Any]] = {
            "/version": {"major": "1", "minor": "30", "gitVersion": "v1.30.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/api/v1": resources("v1", kinds),
            "/apis": groups("storage.k8s.io/v1", *self.operators),
            "/apis/storage.k8s.io/v1": resources("storage.k8s.io/v1", storage),
            "/api/v1/namespaces/kube-system": named("v1", "Namespace", "kube-system"),
            SECRETS: {"apiVersion": "v1", "kind": "SecretList", "items": []},  # of releases
        }
        known |= {f"/apis/{one}": resources(one, {}) for one in self.operators}
        for name in self.classes:
            made = named("storage.k8s.io/v1", "StorageClass", name)
            known[f"/apis/storage.k8s.io/v1/storageclasses/{name}"] = made
        for name, keys in self.secrets.items():
            data = {"data": dict.fromkeys(keys, "eA==")}
            known[f"{SECRETS}/{name}"] = named("v1", "Secret", name) | data
        return known.get(path)


def named(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}


def resources(version: str, found: dict[str, tuple[str, bool]]) -> dict[str, Any]:
    listed = [
        {"name": n, "singularName": "", "namespaced": within, "kind": k, "verbs": ["get", "list"]}
        for n, (k, within) in found.items()
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": listed}


def groups(*versions: str) -> dict[str, Any]:
    listed = []
    for one in versions:
        group, _, version = one.partition("/")
        told = {"groupVersion": one, "version": version}
        listed.append({"name": group, "versions": [told], "preferredVersion": told})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def kubeconfig(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = cluster.answer(self.path.partition("?")[0])
            gone = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(gone if answer is None else answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            cluster.changed.append(self.path)
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [
                {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
            ],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
        }
        file = tmp_path / "kubeconfig"
        file.write_text(json.dumps(told))
        file.chmod(0o600)
        yield file
        server.shutdown()


def install(helm: str, kubeconfig: Path, *arguments: str) -> str:
    """What Helm says of an installation, which never succeeds here."""
    done = subprocess.run(
        [helm, "install", "darkroom", CHART, "--namespace=darkroom", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "HELM_CACHE_HOME": str(kubeconfig.parent / "cache"),
            "HOME": str(kubeconfig.parent),
        },
    )
    assert done.returncode != 0
    return done.stderr


def test_all_that_is_missing_is_said_at_once(helm: str, kubeconfig: Path, cluster: Cluster) -> None:
    cluster.secrets = {"darkroom-keys": ["phi-keys"]}
    said = install(helm, kubeconfig, *CASES["hospital"], "--set=objectStore.storageClass=nowhere")
    for words in (
        "tls.certManager.enabled wants cert-manager: install it",
        "brokerPolicies.mode=operator wants RabbitMQ's messaging topology operator",
        "scaling.enabled wants KEDA",
        "objectStore.storageClass: there is no storage class nowhere",
        "secrets.postgres: there is no secret darkroom-postgres in namespace darkroom",
        "secrets.amqp.ca: there is no secret darkroom-rabbitmq-tls",
        "secret darkroom-keys has no key jwt-key",
    ):
        assert words in said
    assert "phi-keys\n" not in said
    assert cluster.changed == []


def test_nothing_is_said_where_nothing_is_missing(
    helm: str, kubeconfig: Path, cluster: Cluster
) -> None:
    urls = [f"{kind}-url-{service}" for kind in ("postgres", "amqp") for service in SERVICES]
    keys = ("phi-keys", "blind-index-key", "pseudonym-key", "jwt-key", "audit-keys")
    every = [*urls, *keys, "admin-password", "migration-url", "superuser-url", "role-passwords"]
    cluster.operators = set(OPERATORS)
    cluster.secrets = {
        **dict.fromkeys(("darkroom-postgres", "darkroom-rabbitmq", "darkroom-keys"), every),
        "darkroom-bootstrap": every,
        "darkroom-postgres-ca": ["ca.crt"],
        "darkroom-rabbitmq-tls": ["ca.crt"],
    }
    assert "lacks" not in install(helm, kubeconfig, *CASES["hospital"])
    cluster.secrets = {}
    lacking = install(helm, kubeconfig)
    assert "secrets.keys: there is no secret darkroom-keys" in lacking
    assert "lacks" not in install(helm, kubeconfig, "--set=preflight.enabled=false")
