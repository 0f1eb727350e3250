"""One running Darkroom for the tests of a module."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.e2e.user import DarkroomUp
from tests.support.real_files import REAL_FILES


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def darkroom(request: pytest.FixtureRequest) -> AsyncIterator[DarkroomUp]:
    """`darkroom up` on an empty data directory, ready; stopped, and its data removed.

    What a module has as SETTINGS is added to its environment.
    """
    directory = Path(tempfile.mkdtemp(prefix="darkroom-e2e-"))
    directory.chmod(0o711)  # PostgreSQL runs as another user
    settings = {"DARKROOM_LIMIT_ANONYMOUS": "1000/minute"}  # every route is tried without a login
    settings |= getattr(request.module, "SETTINGS", {})
    running = DarkroomUp(directory / "data", settings=settings)
    try:
        await running.start()
        yield running
    finally:
        code = await running.stop()
        await asyncio.to_thread(shutil.rmtree, directory)
    assert code == 0, "\n".join(running.output)


@pytest_asyncio.fixture(loop_scope="module")
async def client(darkroom: DarkroomUp) -> AsyncIterator[httpx.AsyncClient]:
    """A client that has logged in."""
    async with darkroom.client() as made:
        yield made


@pytest.fixture(scope="session")
def real_files() -> list[Path]:
    """Every DICOM file of pydicom-data, of pydicom and of its character sets."""
    return list(REAL_FILES)
