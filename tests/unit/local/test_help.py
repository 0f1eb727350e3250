"""`--help` of every command, where nothing runs and nothing is set."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from darkroom_local.commands.cli import app
from darkroom_local.commands.operators import _WORDS

SERVICES = ("api", "ingest", "licensing", "metadata", "print", "transmit")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have nothing set, and nothing that runs."""
    for name in ("POSTGRES_URL", "AMQP_URL", "PHI_KEYS", "AUDIT_KEYS", "SPOOL", "STORE_URL"):
        monkeypatch.delenv(f"DARKROOM_{name}", raising=False)
    monkeypatch.setenv("DARKROOM_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")


def ended(monkeypatch: pytest.MonkeyPatch, name: str, *words: str) -> Any:
    """Return the exit code of `python -m darkroom_<name>` with words."""
    monkeypatch.setattr(sys, "argv", [name, *words])
    with pytest.raises(SystemExit) as over:
        runpy.run_module(f"darkroom_{name}", run_name="__main__")
    return over.value.code


@pytest.mark.parametrize("name", SERVICES)
def test_each_command_of_a_service_says_how_it_is_used(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, name, "nonsense") == 2
    (listed,) = re.findall(r"\[migrate \[pre\|post\] \| (.*)\]", capfd.readouterr().err)
    words = listed.split(" | ")
    used = {word for _, module, word in _WORDS.values() if module == f"darkroom_{name}"}
    assert used <= set(words)
    for word in words:
        assert not ended(monkeypatch, name, word, "--help"), word
        told = capfd.readouterr()
        assert told.out.startswith("usage: "), word
        assert told.err == "", word


@pytest.mark.parametrize("word", [*_WORDS, "ae"])
def test_darkroom_says_how_each_word_is_used_where_nothing_runs(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(arguments: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(arguments)
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(subprocess, "run", run)
    result = CliRunner().invoke(app, [word, "--help"])
    assert result.exit_code == 0, result.output
    module, of_service = ("darkroom_ingest", "ae") if word == "ae" else _WORDS[word][1:]
    assert asked == [[sys.executable, "-m", module, of_service, "--help"]]
