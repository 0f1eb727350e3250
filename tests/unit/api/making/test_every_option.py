"""Every kind of object with every option is valid, by our own table and by dciodvfy."""

import os
from pathlib import Path

import pytest

from darkroom_api.objects.exchange import Kind
from tests.support.dciodvfy import dciodvfy
from tests.unit.api.making.kinds import AnyOf, made

COUNT = int(os.environ.get("DARKROOM_OBJECTS", "6"))
"""Of each kind; 1,000 have been made."""


@pytest.mark.req("IOD-05")
@pytest.mark.parametrize("kind", list(Kind))
def test_it_is_valid(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "made.dcm"
    for number in range(COUNT):
        values, body = AnyOf(number).values(kind)
        path.write_bytes(made(kind, values, body))
        assert dciodvfy(path) == [], values
