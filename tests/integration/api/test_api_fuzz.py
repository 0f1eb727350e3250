"""Whatever is sent to whatever route, the answer is one of the contract, and never a defect."""

import asyncio
import os
import random
from collections import Counter

import pytest

from tests.integration.api.conftest import Api
from tests.support.fuzzed import Asked, requests

AT_ONCE = 8
AWAY = 5003
PROBLEM = "application/problem+json"
MANY = 4000
"""Of some 20,000: another seed takes others."""
SEED = int(os.environ.get("DARKROOM_TEST_SEED", "11"))
_LEFT_OUT = ("/api/v1/auth/logout", "/api/v1/events")
"""The session is needed; and the stream of events does not end."""


@pytest.mark.timeout(600)
@pytest.mark.req("API-10", "API-16")
async def test_no_request_of_any_kind_is_a_defect(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()
    wrong: list[str] = []
    statuses: Counter[int] = Counter()
    free = asyncio.Semaphore(AT_ONCE)

    async def ask(asked: Asked) -> None:
        headers = {"content-type": "application/json", **asked.headers}
        async with free:
            answer = await api.client.request(
                asked.method, asked.path, content=asked.body, headers=headers
            )
        statuses[answer.status_code] += 1
        failed = answer.status_code >= 400
        away = answer.status_code == 503 and answer.json()["code"] == AWAY
        if (answer.status_code >= 500 and not away) or (
            failed and not answer.headers["content-type"].startswith(PROBLEM)
        ):
            wrong.append(
                f"{answer.status_code} {asked.method} {asked.path[:90]} {asked.body[:90]!r}"
            )
        assert "x-request-id" in answer.headers

    every = [one for one in requests(document) if not one.path.startswith(_LEFT_OUT)]
    assert len(every) > MANY
    chosen = random.Random(SEED).sample(every, MANY)
    for start in range(0, MANY, 400):
        await asyncio.gather(*map(ask, chosen[start : start + 400]))
    assert not wrong, f"seed {SEED}\n" + "\n".join(wrong[:40])
    assert statuses[422] > 500, (SEED, statuses)
    assert statuses[404] > 50
    log = api.services.running["api"].log.read_text()
    assert "http.failed" not in log
