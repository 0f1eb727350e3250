"""The chart, rendered once for all tests of a process."""

import os
import shutil

import pytest

from tests.contract.rendered import CASES, Manifest, render
from tests.support.deployed import ROOT


@pytest.fixture(scope="session")
def helm() -> str:
    local = ROOT / ".tools" / "npm" / "node_modules" / ".bin" / "helm"
    found = str(local) if local.exists() else shutil.which("helm")
    if found is None:
        if "DARKROOM_CHART" in os.environ:
            pytest.fail("there is no helm: infra/local/bootstrap.sh chart")
        pytest.skip("needs helm: make chart")
    return found


@pytest.fixture(scope="session", params=CASES)
def manifests(request: pytest.FixtureRequest, helm: str) -> list[Manifest]:
    return render(helm, *CASES[request.param])
