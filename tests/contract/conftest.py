"""The chart, rendered once for all tests of a process, and both brokers."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from functools import cache

import kubernetes_validate.utils
import pytest

from darkroom_common.amqp.rabbitmq import RabbitBroker
from darkroom_common.testing.memory_broker import MemoryBroker
from tests.contract.bench import QUICK, Bench
from tests.contract.rendered import CASES, Manifest, render
from tests.support.deployed import ROOT


@pytest.fixture(scope="session")
def helm() -> str:
    local = ROOT / ".tools" / "helm" / "helm"
    found = str(local) if local.exists() else shutil.which("helm")
    if found is None:
        if "DARKROOM_CHART" in os.environ:
            pytest.fail("there is no helm: infra/local/bootstrap.sh chart")
        pytest.skip("needs helm, which make setup installs")
    return found


@pytest.fixture(scope="session", params=CASES)
def manifests(request: pytest.FixtureRequest, helm: str) -> list[Manifest]:
    return render(helm, *CASES[request.param])


@pytest.fixture(scope="session", autouse=True)
def schemas_read_once() -> Iterator[None]:
    """Keep what kubernetes-validate otherwise parses again for every manifest."""
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(
            kubernetes_validate.utils,
            "schema_contents",
            cache(kubernetes_validate.utils.schema_contents),
        )
        yield


@pytest.fixture(params=["memory", "rabbitmq"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        yield Bench(MemoryBroker(delays=QUICK), None)
        return
    url = request.getfixturevalue("amqp_url")
    broker = RabbitBroker(url, service="test", delays=QUICK)
    yield Bench(broker, url)
    await broker.close()
