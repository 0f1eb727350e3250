"""A front door with TLS beside the plain port, and who signs its certificates."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.ingest.scp import RunningScp, running_scp
from tests.integration.ingest.tls import tls_settings
from tests.support.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    directory = tmp_path / "tls"
    directory.mkdir()
    return Authority(directory)


@pytest.fixture
def ours(authority: Authority) -> Pair:
    return authority.sign("node")


@pytest.fixture
async def scp(tmp_path: Path, ours: Pair) -> AsyncIterator[RunningScp]:
    async with running_scp(
        tmp_path, **tls_settings(ours), request_seconds=2.0, stall_seconds=2.0
    ) as made:
        yield made
