"""P9 of the targets: REST at 100 requests a second over a hospital's index, beside other load.

`BENCH_SETTINGS` is a JSON object of settings of the services, to measure it beside what they say.
With `RETENTION_PURGE` in it, P9 begins when the first study was purged, and says how many were.

The load is open: a request goes out at its time whether or not those before it were answered, so
that what waits is measured as waiting, which a client with a fixed number of connections hides.
"""

import asyncio
import itertools
import json
import os
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from darkroom_local.engines.ports import LOOPBACK
from tests.bench import report
from tests.bench.hospital import SLOW_MS, STUDIES, Slow, hospital
from tests.bench.report import QUICK, Table
from tests.bench.spent import since, spent
from tests.bench.studies import GIVEN, KINDS, NAMES, PHYSICIANS
from tests.bench.web_clients import Answer, ManyConnections
from tests.support.builders import CT, a_data_set, encode
from tests.support.database import Prepared
from tests.support.dicom_peer import Association
from tests.support.services import Services
from tests.support.waiting import until

RATE: Final = int(os.environ.get("BENCH_RATE", "100"))
PASSWORD: Final = "Bench-only-1!"
SECONDS: Final = 10 if QUICK else 60
STORED_A_SECOND: Final = 10
EXPLICIT: Final = "1.2.840.10008.1.2.1"
WARMING: Final = 100 if QUICK else 2000
"""Requests before, of twenty users at once: PostgreSQL has just been started and has nothing of the
index in its memory, and the services have no connections yet."""
TARGETS: Final = {  # of design: P50, P95, P99
    "authentication": (100, 200, 500),
    "search": (200, 300, 500),
    "detail": (100, 150, 300),
    "export request": (50, 100, 200),
    "bulk": (500, 1000, 2000),
    "audit": (300, 500, 1000),
}
COSTING: Final = ("search", "detail", "authentication")
"""Kinds whose processor time is measured: nearly all of the mix."""
SETTINGS: Final[dict[str, str]] = json.loads(os.environ.get("BENCH_SETTINGS", "{}"))
PURGING: Final = SETTINGS.get("RETENTION_PURGE") == "true"
_GONE: Final = (
    "SELECT count(*) FILTER (WHERE rule IS NOT NULL)::int AS marked,"
    " count(purged_at)::int AS purged FROM index.removal"
)
TABLES: list[Table] = []
NOTE: Final = (
    f"{STUDIES:,} studies, requests of 20 users by an open load of {SECONDS} s while"
    f" {STORED_A_SECOND} objects/s are received and indexed. Clients, services, RabbitMQ and"
    " PostgreSQL, which fsyncs, share the cores."
)


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write the section when all is measured."""
    yield
    report.write("REST", NOTE, TABLES)


@pytest.fixture
async def ward(tmp_path: Path, amqp_url: str) -> AsyncIterator[tuple[Services, Slow]]:
    async with hospital(tmp_path, amqp_url) as (services, slow):
        services.extra["HTTP_PROCESSES"] = str(min(4, os.cpu_count() or 1))  # as `darkroom up`
        services.extra |= SETTINGS
        for name in ("ingest", "metadata", "api"):
            await services.start(name)
        yield services, slow


@asynccontextmanager
async def signed_in(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    base = f"http://{LOOPBACK}:{services.http_port}"
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as client:
        who = {"username": "admin", "password": services.admin_password}
        answer = await client.post("/api/v1/auth/login", json=who)
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


def a_search(dice: random.Random) -> dict[str, str]:
    """What somebody looks for."""
    family, given = dice.choice(NAMES).partition("=")[0], dice.choice(GIVEN)
    kind = dice.choice(KINDS)
    number = dice.randrange(STUDIES)
    year, month = dice.randrange(2017, 2026), dice.randrange(1, 13)
    choices: list[dict[str, str]] = [
        {"q": family},
        {"q": f"{family} {given[:3]}"},
        {"q": f"A{number:09d}"},
        {"q": f"P{number // 3:08d}"},
        {"q": given[:2]},
        {"q": f"{dice.choice(kind[4])} {family}"},
        {"exam_status": dice.choice(["pending", "in_progress", "completed", "cancelled"])},
        {"physician": dice.choice(PHYSICIANS), "modality": kind[0]},
        {"exam_source": dice.choice(kind[3])},
        {"modality": kind[0], "start_date": f"{year}-{month:02d}-01", "q": family},
        {},
    ]
    return dice.choice(choices)


Call = Callable[[], Awaitable[Answer]]


Person = tuple[str, dict[str, str]]
"""A name, and the headers of whoever is signed in under it."""


async def people(client: httpx.AsyncClient) -> list[Person]:
    """Make twenty users, and sign them in."""
    found = []
    for number in range(20):
        name = f"bench{number}-{random.getrandbits(40):x}"
        body = {"username": name, "password": PASSWORD, "email": f"{name}@example.org"}
        body |= {"full_name": name}
        made = await client.post("/api/v1/users", json={**body, "roles": ["medical_admin"]})
        assert made.status_code == 201, made.text
        who = {"username": name, "password": PASSWORD}
        token = (await client.post("/api/v1/auth/login", json=who)).json()["access_token"]
        found.append((name, {"Authorization": f"Bearer {token}"}))
    return found


def a_mix(client: ManyConnections, staff: list[Person]) -> Iterator[tuple[str, Call]]:
    """What people ask in turn: of a hundred requests, so many of each kind, in any order."""
    dice = random.Random(1)
    base = "/api/v1"

    def headers() -> dict[str, str]:
        return dice.choice(staff)[1]

    def search() -> Awaitable[Answer]:
        return client.get(f"{base}/studies/search", params=a_search(dice), headers=headers())

    def detail() -> Awaitable[Answer]:
        return client.get(f"{base}/studies/A{dice.randrange(STUDIES):09d}", headers=headers())

    def audit() -> Awaitable[Answer]:
        return client.get(f"{base}/audit-logs", params={"action": "STUDY_READ"}, headers=headers())

    def bulk() -> Awaitable[Answer]:
        ids = [f"A{dice.randrange(STUDIES):09d}" for _ in range(100)]
        body = {"exam_ids": ids, "new_status": "completed", "reason": "bench"}
        return client.post(f"{base}/studies/bulk/update-status", json=body, headers=headers())

    def export() -> Awaitable[Answer]:
        body = {"format": "csv", "filters": {"q": dice.choice(NAMES), "modality": "NM"}}
        return client.post(f"{base}/studies/export", json=body, headers=headers())

    def login() -> Awaitable[Answer]:
        who = {"username": dice.choice(staff)[0], "password": PASSWORD}
        return client.post(f"{base}/auth/login", json=who)

    kinds: list[tuple[str, Call]] = [("search", search)] * 60 + [("detail", detail)] * 32
    kinds += [("audit", audit)] * 3 + [("authentication", login)] * 3
    kinds += [("bulk", bulk), ("export request", export)]
    while True:
        dice.shuffle(kinds)
        yield from list(kinds)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def its_time(due: float) -> None:
    """Wait until a moment of the performance counter."""
    waited = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(due - time.perf_counter(), waited.set_result, None)
    await waited


async def store_beside(services: Services, until: float) -> int:
    """Send objects at their rate until a time; return how many were taken."""
    bodies = [a_data_set(InstanceNumber=n) for n in range(STORED_A_SECOND * SECONDS)]
    encoded = [(str(one.SOPInstanceUID), encode(one)) for one in bodies]
    loop, taken = asyncio.get_running_loop(), 0

    def store(association: Association, uid: str, data: bytes) -> bool:
        return association.store(1, CT, uid, data) == 0

    with (
        ThreadPoolExecutor(1) as thread,
        Association(services.dicom_port, {1: (CT, EXPLICIT)}) as association,
    ):
        began = time.perf_counter()
        for number, (uid, data) in enumerate(encoded):
            due = began + number / STORED_A_SECOND
            if due > until:
                break
            await its_time(due)
            taken += await loop.run_in_executor(thread, store, association, uid, data)
    return taken


async def gone(services: Services) -> tuple[int, int]:
    """Return how many studies the rules have deleted, and how many were purged."""
    (row,) = await Prepared(services.superuser_url).fetch(_GONE)
    return row["marked"], row["purged"]


@asynccontextmanager
async def beside_a_purge(services: Services) -> AsyncIterator[None]:
    """Begin when the nightly purge is at work, where it is wanted; tell how much it has done."""
    if not PURGING:
        yield
        return
    first = await gone(services)

    async def purges() -> bool:
        return (await gone(services))[1] > first[1]

    await until(purges, limit=300)
    before = await gone(services)
    yield
    marked, purged = (now - was for now, was in zip(await gone(services), before, strict=True))
    print(f"{marked} studies were deleted by the rules meanwhile, and {purged} were purged")


async def test_p9_rest_over_a_hospital(ward: tuple[Services, Slow]) -> None:
    services, slow = ward
    found = Table(f"P9: latency at {RATE} requests/s", "ms")
    rate = Table(f"P9: of {RATE} requests/s", "requests/s")
    work = Table(f"P9: processor time at {RATE} requests/s", "ms a request")
    TABLES.extend((found, rate, work))
    latencies: dict[str, list[float]] = defaultdict(list)
    answers: dict[tuple[str, int], int] = defaultdict(int)
    async with (
        beside_a_purge(services),
        signed_in(services) as client,
        ManyConnections(services.http_port) as many,
    ):

        async def ask(kind: str, call: Call, due: float) -> None:
            answer = await call()
            latencies[kind].append((time.perf_counter() - due) * 1000)
            answers[kind, answer.status_code] += 1

        staff = await people(client)
        warming = itertools.islice(a_mix(many, staff), WARMING)

        async def warm() -> None:
            for kind, call in warming:
                await ask(kind, call, time.perf_counter())

        await asyncio.gather(*(warm() for _ in staff))
        latencies.clear()
        answers.clear()
        slow.forget()
        before, own = spent(), time.process_time()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            beside = tasks.create_task(store_beside(services, began + SECONDS))
            mix = itertools.islice(a_mix(many, staff), RATE * SECONDS)
            for number, (kind, call) in enumerate(mix):
                due = began + number / RATE
                await its_time(due)
                tasks.create_task(ask(kind, call, due))
        number = sum(answers.values())
        rate.add("Darkroom", "answered", number / (time.perf_counter() - began))
        for kind, seconds in since(before).items():
            if seconds:
                work.add(kind, "with 10 objects/s received", 1000 * seconds / number)
        work.add(
            "clients", "with 10 objects/s received", 1000 * (time.process_time() - own) / number
        )
    print(f"{beside.result()} objects were received meanwhile")
    for kind, targets in TARGETS.items():
        for share, target in zip((0.5, 0.95, 0.99), targets, strict=True):
            setting = f"p{share * 100:.0f}"
            found.add(kind, setting, percentile(latencies[kind] or [0.0], share))
            found.add(f"{kind}: wanted", setting, target)
    for (kind, status), count in sorted(answers.items()):
        print(f"{kind}: {count} times {status}")
    tell(slow, f"{RATE} requests/s")


async def test_what_requests_cost_one_after_the_other(ward: tuple[Services, Slow]) -> None:
    services, _ = ward
    work = Table("Processor time of requests, one after the other", "ms a request")
    TABLES.append(work)
    number = 20 if QUICK else 200
    async with signed_in(services) as client, ManyConnections(services.http_port) as many:
        mixed = a_mix(many, await people(client))
        calls: dict[str, list[Call]] = defaultdict(list)
        while any(len(calls[kind]) < number for kind in COSTING):
            kind, call = next(mixed)
            calls[kind].append(call)
        for kind in COSTING:
            for call in calls[kind][: number // 5]:  # warm
                await call()
            before = spent()
            for call in calls[kind][:number]:
                answer = await call()
                assert answer.status_code == 200, answer.text
            for what, seconds in since(before).items():
                if what in ("api", "PostgreSQL"):
                    work.add(what, kind, 1000 * seconds / number)


async def test_a_hundred_searches_by_twenty_users_at_once(ward: tuple[Services, Slow]) -> None:
    services, slow = ward
    found = Table("100 searches by 20 users at once", "ms")
    TABLES.append(found)
    dice = random.Random(2)
    async with signed_in(services) as client:
        staff = await people(client)
        slow.forget()

        async def search(number: int) -> float:
            headers = staff[number % 20][1]
            began = time.perf_counter()
            answer = await client.get(
                "/api/v1/studies/search", params=a_search(dice), headers=headers
            )
            assert answer.status_code == 200, answer.text
            return (time.perf_counter() - began) * 1000

        took = await asyncio.gather(*(search(number) for number in range(100)))
    for share in (0.5, 0.95, 1.0):
        found.add("Darkroom", f"p{share * 100:.0f}", percentile(list(took), share))
    tell(slow, "100 searches at once")


def tell(slow: Slow, what: str) -> None:
    """Say which statements were slow, and how often: the target is none."""
    table = Table(f"Statements over {SLOW_MS} ms, {what}", "times")
    grouped: dict[str, list[float]] = defaultdict(list)
    for role, took, text in slow.found():
        grouped[f"{role}: {text[:110]}"].append(took)
    for text, times in sorted(grouped.items(), key=lambda one: -len(one[1])):
        print(f"{len(times)} x, up to {max(times):.0f} ms: {text}")
    table.add("Darkroom", "all", float(sum(len(times) for times in grouped.values())))
    table.add("Darkroom", "kinds", float(len(grouped)))
    TABLES.append(table)
