"""Instances that make a DICOMweb server fail a whole request: halving finds them (TRX-12)."""

from typing import Any

import pytest

from darkroom_local.engines.ports import LOOPBACK
from tests.integration.transmit.desk import Desk
from tests.integration.transmit.stow_server import HANGS_UP, Server, sequences, serving, stow

pytestmark = pytest.mark.req("TRX-12")
ONCE = {"initial_seconds": 0.2, "multiplier": 1, "ceiling_seconds": 0.2, "max_attempts": 20}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (500, "HttpStatus500"),
        (502, "HttpStatus502"),
        (400, "BadRequest"),
        (422, "HttpStatus422"),
        (HANGS_UP, "ConnectionLost"),
    ],
)
@pytest.mark.parametrize("places", [(0,), (9,), (2, 13, 14)])
async def test_the_culprits_fail_and_the_others_are_stored(
    desk: Desk, answer: int, reason: str, places: tuple[int, ...]
) -> None:
    study = await desk.study(16)
    bad = {list(study.digests)[place] for place in places}  # three in a row would blame the server

    def script(uids: list[str], _: int) -> tuple[int, Any]:
        return (answer, b"") if bad & set(uids) else (200, sequences(uids))

    with serving(Server(script)) as server:
        url = f"http://{LOOPBACK}:{server.port}/dicom-web"
        await stow(desk, "WEB", url, backoff=ONCE, max_associations=1)
        job_id = await desk.send("WEB", study)
        job = await desk.until(job_id, "FAILED")
        rows = await desk.instances(job_id)
    assert {uid for uid, row in rows.items() if row["state"] == "FAILED"} == bad
    assert (job["reason"], job["sent"]) == (reason, 16 - len(bad))
    assert sorted(server.stored) == sorted(set(study.digests) - bad)
    assert len(server.requests) <= 10 * len(bad) + 1
    assert desk.logged("destination.failed") == []


@pytest.mark.parametrize(("answer", "reason"), [(500, "HttpStatus500"), (401, "NotAuthenticated")])
async def test_a_server_that_takes_nothing_is_away_itself(
    desk: Desk, answer: int, reason: str
) -> None:
    study = await desk.study(16)
    with serving(Server(lambda *_: (answer, b""))) as server:
        url = f"http://{LOOPBACK}:{server.port}/dicom-web"
        await stow(desk, "WEB", url, backoff=ONCE | {"max_attempts": 2}, max_associations=1)
        job = await desk.until(await desk.send("WEB", study), "FAILED")
    assert (job["reason"], job["sent"], job["failed"]) == (reason, 0, 16)
    assert len(server.requests) <= 2 * 10
    assert desk.logged("destination.failed")
