"""Rate limits on a real database: shared, exact, told, and what happens without it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

from darkroom_api.http.errors import ApiError
from darkroom_api.rates.classes import Class
from darkroom_api.rates.flow import Flow
from darkroom_api.rates.limits import RateLimits
from darkroom_api.rates.storage import PostgresStorage
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.postgres.pool import Database, open_database
from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.integration.api.conftest import Api, running_api
from tests.support.database import Prepared
from tests.support.services import ServiceProcess, Services

QUIRKS = "/api/v1/printer-quirks"
HOUR = 3600
_USER = """
    WITH made AS (
        INSERT INTO api.app_user (username, username_key, password_hash)
        SELECT $1, $1, password_hash FROM api.app_user WHERE username = 'admin' RETURNING id
    )
    INSERT INTO api.user_role SELECT id, 'radiologist' FROM made
"""


@pytest.fixture
async def database(superuser_url: str) -> AsyncIterator[Database]:
    prepared = await Prepared.make(superuser_url, "api")
    async with prepared.login("api") as database:
        yield database


@pytest.fixture
def storage(database: Database) -> PostgresStorage:
    return PostgresStorage(database)


@pytest.fixture(params=["memory", "postgres"])
def any_storage(request: pytest.FixtureRequest) -> Any:
    return MemoryStorage() if request.param == "memory" else request.getfixturevalue("storage")


async def test_the_library_counts_the_same_on_our_storage(any_storage: Any) -> None:
    item = parse("5/day")
    for strategy in (FixedWindowRateLimiter, SlidingWindowCounterRateLimiter):
        limiter = strategy(any_storage)
        assert await limiter.test(item, strategy.__name__)
        assert [await limiter.hit(item, strategy.__name__) for _ in range(7)] == [
            *[True] * 5,
            *[False] * 2,
        ]
        assert not await limiter.test(item, strategy.__name__)
        stats = await limiter.get_window_stats(item, strategy.__name__)
        assert stats.remaining == 0
        await limiter.clear(item, strategy.__name__)
        assert await limiter.hit(item, strategy.__name__)
    assert await any_storage.check()
    assert await any_storage.reset()
    assert await limiter.test(item, strategy.__name__)


async def test_a_burst_of_parallel_takes_is_counted_exactly(storage: PostgresStorage) -> None:
    taken = await asyncio.gather(*(storage.take("burst", 30, HOUR) for _ in range(80)))
    assert sum(one.fits for one in taken) == 30
    assert {one.window.used for one in taken if one.fits} == set(range(1, 31))


async def test_the_period_slides(storage: PostgresStorage, database: Database) -> None:
    assert (await storage.take("slides", 10, HOUR, 10)).fits
    async with database.acquire() as db:  # as if it had been in the period before
        await db.execute("UPDATE api.rate_limit SET number = number - 1 WHERE key = 'slides'")
    found = await storage.take("slides", 10, HOUR, 0)
    assert found.window.previous == 10
    assert found.window.used == int(10 * (1 - found.window.elapsed))
    async with database.acquire() as db:  # as if another had begun the next one already
        await db.execute("UPDATE api.rate_limit SET number = number + 5 WHERE key = 'slides'")
    assert (await storage.take("slides", 10, HOUR, 0)).window.previous == 10
    async with database.acquire() as db:
        await db.execute("UPDATE api.rate_limit SET number = 1 WHERE key = 'slides'")
    assert (await storage.take("slides", 10, HOUR)).window.used == 1
    async with database.acquire() as db:
        await db.execute("UPDATE api.rate_limit SET ends = now() - interval '2 days'")
    await storage.forget_ended()
    assert await storage.reset() == 0


@pytest.mark.req("API-04")
async def test_bytes_of_all_replicas_count(storage: PostgresStorage) -> None:
    volume = parse("1000/hour")
    flows = [_flow(storage, volume) for _ in range(2)]
    for flow in flows:
        assert await _pass(flow, 400)
        await flow.tell()
    assert await _pass(flows[0], 400)
    await flows[0].tell()
    assert not await _pass(flows[0], 1)
    assert await _pass(flows[1], 1), "it has not heard yet"
    await flows[1].tell()
    assert not await _pass(flows[1], 1)
    assert await _pass(flows[1], 1, who="another")


def _flow(storage: PostgresStorage, volume: RateLimitItem) -> Flow:
    return Flow(RateLimits(storage, {}, SYSTEM_CLOCK), 2, volume)


async def _pass(flow: Flow, size: int, who: str = "somebody") -> bool:
    async def nothing(*_: Any) -> Any:
        raise AssertionError

    async def send(_: Any) -> None:
        pass

    try:
        async with flow.of(Class.DICOMWEB, who):
            _, counted = flow.counted(who, nothing, send)
            await counted({"type": "http.response.body", "body": b"x" * size})
    except ApiError as fault:
        assert fault.status == 429
        return False
    return True


async def test_requests_at_a_time_have_a_limit(storage: PostgresStorage) -> None:
    flow = _flow(storage, parse("1000/hour"))
    async with flow.of(Class.POLLING, "one"), flow.of(Class.POLLING, "one"):
        with pytest.raises(ApiError, match="Too many requests") as refused:
            async with flow.of(Class.POLLING, "one"):
                pass
        assert refused.value.headers["Retry-After"] == "1"
        async with flow.of(Class.DICOMWEB, "one"), flow.of(Class.POLLING, "two"):
            pass
    assert not flow._now


async def test_without_a_database_each_replica_counts_for_itself() -> None:
    url = f"postgresql://nobody:nothing@127.0.0.1:{free_port()}/nothing"
    async with open_database(url, service="test") as away:
        rates = RateLimits(PostgresStorage(away), {Class.BULK: parse("3/day")}, SYSTEM_CLOCK)
        for left in (2, 1, 0):
            assert f"r={left};" in (await rates.take(Class.BULK, "one"))["RateLimit"]
        with pytest.raises(ApiError, match="Too many requests"):
            await rates.take(Class.BULK, "one")
        assert await rates.take(Class.BULK, "two")


async def another_replica(services: Services) -> str:
    """Start one more api; return its URL."""
    health, port = free_port(), free_port()
    environment = services.environment("api", health) | {"DARKROOM_HTTP_PORT": str(port)}
    one = ServiceProcess("api", environment, services.directory / "another.log", health)
    services.running["another api"] = one
    await one.start()
    await one.ready()
    return f"http://{LOOPBACK}:{port}"


@pytest.mark.req("API-04")
async def test_replicas_share_the_counts_and_say_what_is_left(services: Services) -> None:
    services.extra |= {"LIMIT_DEFAULT": "20/day", "LIMIT_ANONYMOUS": "4/day"}
    async with running_api(services) as api:
        other = await another_replica(services)
        headers = {"authorization": api.client.headers["authorization"]}
        answers: list[httpx.Response] = []
        async with httpx.AsyncClient(timeout=20) as client:
            for turn in range(24):
                base = (api.url, other)[turn % 2]
                answers.append(await client.get(base + QUIRKS, headers=headers))
            assert [one.status_code for one in answers] == [200] * 20 + [429] * 4
            assert answers[0].headers["ratelimit-policy"] == '"default";q=20;w=86400'
            assert answers[3].headers["ratelimit"].startswith('"default";r=16;t=')
            refused = answers[-1]
            assert refused.json()["code"] == 1005
            assert refused.json()["name"] == "RATE_LIMITED"
            seconds = int(refused.headers["retry-after"])
            assert 0 < seconds <= 2 * 86400
            assert f"Try again in {seconds} seconds" in refused.json()["detail"]
            # What is apart is not refused: polling, DICOMweb, health, signing in again.
            for path in ("/api/v1/transmit/jobs", "/dicom-web/studies?limit=1"):
                assert (await client.get(api.url + path, headers=headers)).status_code == 200
            assert (await client.get(api.url + "/livez")).status_code == 200
            # Who is not signed in counts by address; a false token is nobody's.
            false = {"authorization": "Bearer false"}
            both = (api.url, other) * 3
            found = [await client.get(base + QUIRKS, headers=false) for base in both]
            assert [one.status_code for one in found] == [401] * 4 + [429] * 2
            found = [await client.get(base + "/openapi.json") for base in both]
            assert [one.status_code for one in found] == [200] * 4 + [429] * 2
            transport = httpx.AsyncHTTPTransport(local_address="127.0.0.77")
            async with httpx.AsyncClient(transport=transport, timeout=20) as elsewhere:
                assert (await elsewhere.get(other + "/openapi.json")).status_code == 200
        assert (await api.sign_in("admin", api.services.admin_password)).status_code == 200


@pytest.mark.req("API-04")
@pytest.mark.timeout(240)
async def test_a_hundred_searches_of_twenty_users_at_once_all_answer(services: Services) -> None:
    services.extra |= {"LIMIT_DEFAULT": "1000/hour"}
    async with running_api(services) as api:
        tokens = [await _signed_in(api, f"user{number}") for number in range(20)]

        async def search(number: int) -> int:
            headers = {"authorization": f"Bearer {tokens[number % 20]}"}
            url = f"/api/v1/studies?patient_name=nobody{number}"
            return (await api.anonymous.get(url, headers=headers)).status_code

        assert await asyncio.gather(*(search(number) for number in range(100))) == [200] * 100


async def _signed_in(api: Api, name: str) -> str:
    """Make a user with the administrator's password, and sign in."""
    await Prepared(api.services.superuser_url).fetch(_USER, name)
    answer = await api.sign_in(name, api.services.admin_password)
    assert answer.status_code == 200
    token: str = answer.json()["access_token"]
    return token


@pytest.mark.req("API-04")
async def test_exports_count_that_are_made(services: Services) -> None:
    services.extra |= {"LIMIT_EXPORTS": "2/day"}
    async with running_api(services) as api:

        async def ask(key: str, **body: str) -> httpx.Response:
            headers = {"idempotency-key": key}
            return await api.client.post("/api/v1/studies/export", json=body, headers=headers)

        refused = [await ask("a", format="xml") for _ in range(3)]
        assert [one.status_code for one in refused] == [422] * 3
        made = await ask("a", format="csv")
        assert made.headers["ratelimit"].startswith('"exports";r=1;t=')
        again = [await ask("a", format="csv") for _ in range(4)]
        assert [one.status_code for one in (made, *again)] == [202] * 5
        assert {one.json()["job_id"] for one in again} == {made.json()["job_id"]}
        assert (await ask("b", format="csv")).status_code == 202
        third = await ask("c", format="csv")
        assert (third.status_code, third.json()["code"]) == (429, 1005)
        assert third.headers["ratelimit"].startswith('"exports";r=0;t=')
        assert (await ask("b", format="csv")).status_code == 202
