"""The pipeline: its workflows are valid, give nothing away, and run what is there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.deployed import ROOT

WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
_EXPRESSION: Final = re.compile(r"\$\{\{.*?\}\}")
_PINNED: Final = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40}$")
_TARGET: Final = re.compile(r"^([a-z-]+):(?!=)", re.MULTILINE)
_IN_BIN: Final = Path(sys.executable).parent


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job.get("steps", [])]


def scripts(workflow: Path) -> list[str]:
    return [step["run"] for step in steps(workflow) if "run" in step]


@pytest.mark.req("DEP-07")
def test_they_follow_the_schema_of_github() -> None:
    arguments = ["--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)]
    subprocess.run([_IN_BIN / "check-jsonschema", *arguments], check=True)


def test_they_give_nothing_away() -> None:
    arguments = ["--offline", "--quiet", "--min-severity", "medium", "--no-config"]
    subprocess.run([_IN_BIN / "zizmor", *arguments, *WORKFLOWS], check=True)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_of_others_runs_that_can_change_under_its_name(workflow: Path) -> None:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert [name for name in used if not _PINNED.match(name)] == []
    called = [job["uses"] for job in jobs if "uses" in job]
    assert [name for name in called if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_its_shell_is_shell_and_calls_what_is_there(workflow: Path) -> None:
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text()))
    for script in scripts(workflow):
        assert not _EXPRESSION.search(script), "what a run is given comes by the environment"
        subprocess.run(["sh", "-n"], input=script.encode(), check=True)
        assert set(re.findall(r"\bmake ([a-z-]+)", script)) - {"python"} <= targets
        named = re.findall(r"(?:^|\s)((?:infra|\.ci)/[\w./-]+)", script)
        assert [path for path in named if not (ROOT / path.rstrip("/")).exists()] == []


@pytest.mark.req("DEP-07")
def test_every_image_is_built_and_scanned_before_anything_is_deployed() -> None:
    image = yaml.safe_load((ROOT / ".github/workflows/images.yaml").read_text())["jobs"]["image"]
    services = {path.name for path in (ROOT / "services").iterdir() if path.is_dir()}
    assert set(image["strategy"]["matrix"]["service"]) == services | {"local"}
    names = [step.get("name", "") for step in image["steps"]]
    assert names.index("nothing high or critical that has a mend") < names.index("push")
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())["jobs"]
    assert set(ci["staged"]["needs"]) == {"security", "images"}
    assert ci["images"]["needs"] == "checks"


@pytest.mark.parametrize("what", ["bench", "chaos", "fuzz"])
def test_what_a_night_runs_is_a_target(what: str) -> None:
    night = yaml.safe_load((ROOT / ".github/workflows/nightly.yaml").read_text())["jobs"]["long"]
    assert what in night["strategy"]["matrix"]["what"]
    assert what in _TARGET.findall((ROOT / "Makefile").read_text())
