"""infra/k8s/rollout.sh and smoke.sh: a version that does not work is not left in place.

Helm is a script here that writes down how it is called and answers as it is told to; the service is
a real HTTP server. There is no Kubernetes where these tests run.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from tests.support.deployed import ROOT

HEALTHY: Final = (200, b'{"status": "healthy", "version": "1", "checks": {}}')
UNHEALTHY: Final = (503, b'{"status": "unhealthy", "version": "1", "checks": {}}')
_HELM: Final = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
if [ "$1" = rollback ]; then touch "$CALLS.back"; fi
if [ "$1" = history ]; then cat "$HISTORY"; exit; fi
case " $FAILS " in *" $1 "*) exit 1 ;; esac
"""


@dataclass
class Cluster:
    """A service behind an address, and a helm that tells what it was asked for."""

    directory: Path
    address: str = ""
    answers: list[tuple[int, bytes]] = field(default_factory=lambda: [HEALTHY])
    after_rollback: tuple[int, bytes] = HEALTHY
    history: list[dict[str, object]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def answer(self) -> tuple[int, bytes]:
        if (self.directory / "calls.back").exists():
            return self.after_rollback
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def run(
        self, *, fails: str = "", seconds: int = 1, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        (self.directory / "history").write_text(json.dumps(self.history))
        script = ROOT / "infra/k8s/rollout.sh"
        where = ("--release", "dr", "--namespace", "pacs", "--chart", "chart")
        reached = ("--address", self.address, "--seconds", str(seconds), "--")
        return subprocess.run(
            [script, *where, *reached, *options],
            env={
                **os.environ,
                "PATH": f"{self.directory}:{os.environ['PATH']}",
                "CALLS": str(self.directory / "calls"),
                "HISTORY": str(self.directory / "history"),
                "FAILS": fails,
                "DARKROOM_SMOKE_INTERVAL": "0.05",
                "no_proxy": "*",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """The commands of helm, in their order."""
        return [line.split()[0] for line in (self.directory / "calls").read_text().splitlines()]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path)

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            status, body = found.answer()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "helm").write_text(_HELM)
    (tmp_path / "helm").chmod(0o755)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found.address = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()
        thread.join()


DEPLOYED: Final[list[dict[str, object]]] = [
    {"revision": 6, "status": "superseded"},
    {"revision": 7, "status": "deployed"},
    {"revision": 8, "status": "failed"},
]


def test_a_version_that_works_is_tested_and_stays(cluster: Cluster) -> None:
    cluster.history = DEPLOYED
    done = cluster.run(options=("--set", "image.tag=2"), seconds=20)
    assert done.returncode == 0, done.stderr
    assert cluster.calls == ["history", "upgrade", "test"]
    upgrade = (cluster.directory / "calls").read_text().splitlines()[1]
    assert "dr --namespace pacs chart --install --wait" in upgrade
    assert upgrade.endswith("--set image.tag=2")
    assert set(cluster.asked) == {"/api/v1/health"}
    assert len(cluster.asked) == 5, "one answer may come from a replica that is about to go"


def test_one_that_becomes_healthy_late_stays(cluster: Cluster) -> None:
    cluster.answers = [HEALTHY, UNHEALTHY, UNHEALTHY, HEALTHY]
    assert cluster.run(seconds=20).returncode == 0
    assert len(cluster.asked) == 8


@pytest.mark.req("DEP-07")
@pytest.mark.parametrize(
    ("fails", "answers", "calls"),
    [
        ("upgrade", HEALTHY, ["history", "upgrade", "rollback"]),
        ("", UNHEALTHY, ["history", "upgrade", "rollback"]),
        (
            "",
            (200, b"<html>a login page of somebody else</html>"),
            ["history", "upgrade", "rollback"],
        ),
        ("test", HEALTHY, ["history", "upgrade", "test", "rollback"]),
    ],
)
def test_one_that_does_not_work_goes_back_to_what_was_deployed(
    cluster: Cluster, fails: str, answers: tuple[int, bytes], calls: list[str]
) -> None:
    cluster.history, cluster.answers = DEPLOYED, [answers]
    done = cluster.run(fails=fails)
    assert done.returncode == 1
    assert cluster.calls == calls
    assert "rollback dr --namespace pacs 7 " in (cluster.directory / "calls").read_text()
    assert "at revision 7 again, and works" in done.stderr


def test_a_way_back_that_does_not_work_is_said(cluster: Cluster) -> None:
    cluster.history, cluster.answers = DEPLOYED, [UNHEALTHY]
    cluster.after_rollback = UNHEALTHY
    done = cluster.run()
    assert done.returncode == 1
    assert "again, and works" not in done.stderr
    assert done.stderr.count("not healthy within 1 s") == 2


def test_a_first_installation_that_fails_stays_for_one_to_look_at(cluster: Cluster) -> None:
    done = cluster.run(fails="upgrade")
    assert done.returncode == 1
    assert cluster.calls == ["history", "upgrade"]
    assert "no revision to go back to" in done.stderr


def test_nobody_who_listens_is_not_healthy(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "infra/k8s/smoke.sh", "http://127.0.0.1:9", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "not healthy within 0 s" in done.stderr
    assert "127.0.0.1" in done.stderr


def test_a_release_has_notes_or_is_none(tmp_path: Path) -> None:
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(
        "# Changelog\n\n## Unreleased\n\n- c\n\n## 1.1.0 - 2027-01-01\n\n- b\n\n## 1.1.01\n\n- a\n"
    )
    script = ROOT / "infra/release-notes.sh"

    def notes(version: str) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [script, version, changelog]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert notes("1.1.0").stdout.split() == ["-", "b"]
    assert notes("1.2.0").returncode == 1
    assert "says nothing of 1.2.0" in notes("1.2.0").stderr
