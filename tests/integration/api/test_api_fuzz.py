"""Whatever is sent to whatever route, the answer is one of the contract, and never a defect."""

import asyncio
from collections import Counter

import pytest

from tests.integration.api.conftest import Api
from tests.support.fuzzed import Asked, requests

AT_ONCE = 8
AWAY = 5003
PROBLEM = "application/problem+json"


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

    batch: list[Asked] = []
    for asked in requests(document):
        if asked.path.startswith("/api/v1/auth/logout"):  # the session is needed yet
            continue
        batch.append(asked)
        if len(batch) == 400:
            await asyncio.gather(*map(ask, batch))
            batch.clear()
    await asyncio.gather(*map(ask, batch))
    assert not wrong, "\n".join(wrong[:40])
    assert statuses[422] > 500, statuses
    assert statuses[404] > 50
    log = api.services.running["api"].log.read_text()
    assert "http.failed" not in log
