"""`darkroom demo` and `darkroom status` against a small stand-in for the stack."""

import json
import os
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, StoragePresentationContexts, evt
from typer.testing import CliRunner

from darkroom_local.commands.cli import app
from darkroom_local.engines.ports import free_port
from darkroom_local.stack.state import ProcessState, StackState

TOKEN = "the-token"


class Archive:
    """Counts what arrives by C-STORE and answers login, QIDO-RS and /readyz."""

    def __init__(self) -> None:
        self.instances: Counter[str] = Counter()
        self.status = 0x0000
        self.ready = 200

    def store(self, event: Any) -> int:
        if self.status == 0:
            self.instances[event.dataset.StudyInstanceUID] += 1
        return self.status

    def answer(self, path: str, authorization: str | None) -> tuple[int, Any]:
        if path == "/api/v1/auth/login":
            return 200, {"access_token": TOKEN}
        if path == "/readyz":
            return self.ready, {"checks": {"rabbitmq": {"ok": False, "reason": "away"}}}
        if authorization != f"Bearer {TOKEN}":
            return 401, {}
        study = path.split("/")[3]
        return 200, [{}] * self.instances[study]


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def data(tmp_path: Path, archive: Archive) -> Iterator[Path]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = archive.answer(
                self.path.partition("?")[0], self.headers.get("Authorization")
            )
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the interface

        def log_message(self, *args: Any) -> None:
            return

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    entity = AE("ARCHIVE")
    entity.supported_contexts = StoragePresentationContexts
    port = free_port()
    scp = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, archive.store)]
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "admin-password").write_text("x\n")
    health = f"http://127.0.0.1:{web.server_port}"
    process = ProcessState(
        "ingest",
        1,
        "running",
        ready=True,
        reason="",
        restarts=0,
        since=0.0,
        log="/log",
        health_url=health,
    )
    StackState(os.getpid(), 0.0, "ARCHIVE", port, web.server_port, [process]).write(
        tmp_path / "run" / "state.json"
    )
    yield tmp_path
    assert scp
    scp.shutdown()
    web.shutdown()
    web.server_close()


@pytest.mark.req("OBS-07")
def test_demo_sends_finds_and_explains(data: Path, archive: Archive) -> None:
    result = CliRunner().invoke(
        app, ["demo", "--only-studies", "--data", str(data), "--slices", "3"]
    )
    assert result.exit_code == 0, result.output
    assert sorted(archive.instances.values()) == [1, 1, 3]
    for study in archive.instances:
        assert f"/dicom-web/studies/{study}" in result.output
    assert "curl" in result.output
    assert TOKEN not in result.output


def test_demo_says_what_was_refused(data: Path, archive: Archive) -> None:
    archive.status = 0xA700
    result = CliRunner().invoke(
        app, ["demo", "--only-studies", "--data", str(data), "--slices", "1"]
    )
    assert result.exit_code == 1
    assert "0xA700" in result.output


def test_demo_needs_a_running_stack(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "darkroom up" in result.output


def test_status_asks_the_services_now(data: Path, archive: Archive) -> None:
    assert CliRunner().invoke(app, ["status", "--data", str(data)]).exit_code == 0
    archive.ready = 503
    result = CliRunner().invoke(app, ["status", "--data", str(data)])
    assert result.exit_code == 1
    assert "rabbitmq: away" in result.output


def test_status_without_a_stack_says_how_to_start_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["status", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "darkroom up" in result.output


def test_doctor_names_a_busy_port(data: Path) -> None:
    state = StackState.read(data / "run" / "state.json")
    assert state
    arguments = ["doctor", "--dicom-port", str(state.dicom_port), "--http-port", str(free_port())]
    result = CliRunner().invoke(app, [*arguments, "--data", str(data / "elsewhere")])
    assert result.exit_code == 1
    assert "in use" in result.output


def test_what_demo_sends_validates(data: Path, tmp_path: Path) -> None:
    validator = shutil.which("dciodvfy")
    assert validator, "make test installs dicom3tools"
    files = tmp_path / "files"
    arguments = [
        "demo",
        "--only-studies",
        "--only-studies",
        "--data",
        str(data),
        "--slices",
        "2",
        "--save",
        str(files),
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    saved = sorted(files.glob("*.dcm"))
    assert len(saved) == 4
    for file in saved:
        said = subprocess.run([validator, file], capture_output=True, text=True, check=False)
        assert "Error" not in said.stderr, said.stderr
