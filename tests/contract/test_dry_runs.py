"""Every command whose dry run the page of data's life names has one, and shows what it says."""

import json
import re
from typing import Final

import pytest
from typer.testing import CliRunner

from darkroom_common.specs.remote import MigrationSpec
from darkroom_local.commands.cli import app
from tests.support.shown import DOCS, shown

LIFE: Final = (DOCS / "data-life.md").read_text()
_TABLE: Final = LIFE.partition("## Every command, and its dry run\n")[2].partition("\n## ")[0]
_WORD: Final = re.compile(r"`darkroom ([a-z-]+)[ `]")
OWN: Final = sorted(
    {
        word
        for line in _TABLE.splitlines()
        if "| `--dry-run` |" in line
        for word in _WORD.findall(line)
    }
    - {"migrate"}  # a word of transmit's command
)


def test_the_table_names_what_changes_data() -> None:
    assert OWN == ["failover", "mask", "refresh-test", "take-back"]
    for word in ("retention", "verify", "migrate"):
        assert f"`darkroom {word} " in _TABLE


@pytest.mark.parametrize("word", OWN)
def test_a_command_has_its_dry_run(word: str) -> None:
    helped = CliRunner().invoke(app, [word, "--help"], env={"COLUMNS": "200"})
    assert helped.exit_code == 0
    assert "--dry-run" in re.sub(r"\x1b\[[0-9;]*m", "", helped.output)


def test_what_a_migration_would_ask_for_is_shown_whole() -> None:
    *said, last = shown("migration.md", "darkroom migrate get OLD-PACS --modality CT --dry-run")
    assert last == "dry run: nothing was begun"
    spec = MigrationSpec(way="get", source="OLD-PACS", modalities=("CT",))
    assert json.loads("\n".join(said)) == spec.model_dump(mode="json")
