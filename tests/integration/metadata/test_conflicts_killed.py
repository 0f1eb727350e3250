"""A decision about many instances while metadata is killed: nothing is lost, nothing done twice."""

import json
from functools import partial
from pathlib import Path

import pytest

from darkroom_common.index.fields import Level
from tests.integration.metadata.resolving import house
from tests.integration.metadata.test_indexer import KEY
from tests.integration.metadata.test_reindex import BLIND_KEY
from tests.support.builders import a_data_set, new_uid
from tests.support.services import Services
from tests.support.waiting import until

FIRSTS, OTHERS = 5, 90
JOB = "SELECT state, instances, attempts FROM index.resolution"


@pytest.mark.req("MET-06")
@pytest.mark.parametrize("action", ["merge", "split"])
async def test_a_merge_and_a_split_survive_kills(
    services: Services, superuser_url: str, tmp_path: Path, action: str
) -> None:
    services.extra |= {"LEASE_SECONDS": "1", "QUIET_SECONDS": "1000"}
    services.secrets |= {
        "PHI_KEYS": json.dumps({"current": 1, "keys": {"1": KEY}}),
        "BLIND_INDEX_KEY": BLIND_KEY,
    }
    async with house(superuser_url, tmp_path) as desk:
        services.extra["STORE_URL"] = desk.bench.directory.as_uri()
        shared = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
        await desk.received(*(a_data_set(**shared, PatientID="FIRST") for _ in range(FIRSTS)))
        await desk.received(*(a_data_set(**shared, PatientID="OTHER") for _ in range(OTHERS)))
        (conflict,) = await desk.conflicts()
        await desk.commands.handle(desk.command(conflict["id"], action))

        def written(least: int = 0) -> int | None:
            found = len(list(desk.bench.directory.iterdir())) - FIRSTS - OTHERS
            return found if found >= least else None

        killed = 0
        for share in (1, 25, 50, 85):
            await services.start("metadata")
            metadata = services.running["metadata"]
            await until(partial(written, share), f"{share} corrected", poll=0.002)
            await metadata.kill()
            rows = await desk.bench.prepared.fetch(JOB)
            killed += rows[0]["state"] == "RESOLVING"
            await desk.require_agreement()
        assert killed >= 2
        await services.start("metadata")

        async def done() -> bool:
            (row,) = await desk.bench.prepared.fetch(JOB)
            assert row["state"] != "FAILED"
            return bool(row["state"] == "DONE")

        await until(done, "the end of the job")
        (row,) = await desk.bench.prepared.fetch(JOB)
        assert (row["instances"], row["attempts"] > 1) == (OTHERS, True)
        await desk.require_agreement()
        (closed,) = await desk.conflicts("kind = 'patient'")
        assert closed["state"] == {"merge": "merged", "split": "split"}[action]
        assert len(await desk.conflicts("kind = 'correction'")) == OTHERS
        assert written() == OTHERS  # each was written again under the same key
        found = await desk.found(Level.STUDY)
        counts = sorted(one.study.instance_count for one in found)
        assert counts == ([FIRSTS + OTHERS] if action == "merge" else [FIRSTS, OTHERS])
        assert await services.running["metadata"].stop() == 0
