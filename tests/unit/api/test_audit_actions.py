"""Every action of the audit log has what writes it."""

import re

import pytest

from darkroom_api.audit.actions import Action
from tests.support.deployed import ROOT

_DECLARED = ("audit/actions.py", "atna/events.py")
"""What names actions without writing rows."""


@pytest.mark.req("API-05")
def test_every_action_has_a_writer() -> None:
    source = ROOT / "services/api/src/darkroom_api"
    written: set[str] = set()
    for file in source.rglob("*.py"):
        if str(file.relative_to(source)) not in _DECLARED:
            written |= set(re.findall(r"\bAction\.([A-Z_]+)", file.read_text()))
    assert {one.name for one in Action} == written
