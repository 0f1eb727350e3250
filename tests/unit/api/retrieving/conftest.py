"""A shelf of objects for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.shelf import Shelf, open_shelf


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with open_shelf(tmp_path) as made:
        yield made
