"""What failed in a whole run is looked at once more, and not more often."""

import json
from pathlib import Path

import pytest

from tests.support import again

_TESTS = """
def test_right():
    pass

def test_wrong():
    assert False
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory in which a run has been."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(_TESTS)
    kept = tmp_path / ".pytest_cache/v/cache/lastfailed"
    kept.parent.mkdir(parents=True)
    return kept


def _failed(kept: Path, *tests: str) -> None:
    kept.write_text(json.dumps(dict.fromkeys(tests, True)))


def test_what_passes_now_is_named(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _failed(run, "test_it.py::test_right")
    assert again.main() == 0
    out = capfd.readouterr().out
    assert "1 passed" in out
    assert out.endswith("found:\n  test_it.py::test_right\n")


def test_what_fails_again_has_failed(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _failed(run, "test_it.py::test_right", "test_it.py::test_wrong")
    assert again.main() == 1
    assert "ONLY WHEN RUN AGAIN" not in capfd.readouterr().out


def test_a_run_that_kept_nothing_has_failed(run: Path) -> None:
    assert not run.exists()
    assert again.main() == 1


@pytest.mark.parametrize(
    ("failed", "why"),
    [
        ([], "the run itself"),
        (["a.py::a"] * (again.MOST + 1), "6 failed"),
        (["tests/e2e/test_killed.py::test_a"], "nothing is lost"),
        (["tests/integration/api/test_a.py"], "could not be read"),
        (["tests/integration/api/test_a.py::test_killed"], ""),
    ],
)
def test_there_is_no_second_look_at_everything(failed: list[str], why: str) -> None:
    found = again.refusal(failed)
    assert why in found if why else not found
