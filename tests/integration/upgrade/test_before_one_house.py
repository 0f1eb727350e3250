"""A stack with data made by the commit before the one house starts with this code and goes on."""

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from darkroom_common.messages.base import Reply
from darkroom_common.messages.earlier import EARLIER
from darkroom_common.messages.registry import decode
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.seal import Seal
from tests.e2e.user import data_set_of, digest
from tests.integration.upgrade.old_house import OldHouse, goes_on, read
from tests.integration.upgrade.peers import Peers, willing
from tests.support.commands import run_command
from tests.support.services import Services

LIMIT = 240.0
"""Seconds; longer than a message waits that failed three times while all started at once."""
CHANGES_BY_ITSELF = frozenset(
    {
        "port", "url", "breaker", "breaker_reason", "breaker_until", "status", "status_info",
        "status_at", "meaning", "created_at", "updated_at",
    }
)  # fmt: skip
_SERVICES = ("ingest", "metadata", "transmit", "print", "api", "licensing")
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def house(services: Services) -> OldHouse:
    services.extra |= {
        "ECHO_SECONDS": "0",  # it connects to whoever is not to be sent anything
        "INGEST_DICOM_PORT": str(services.dicom_port), "LEASE_SECONDS": "2",
        "COMMITMENT_WAIT_SECONDS": "2",
    }  # fmt: skip
    return OldHouse(services)


async def until(what: str, found: Callable[[], Awaitable[Any]], expected: Any) -> None:
    """Wait until something is as expected."""
    end = time.monotonic() + LIMIT
    while (last := await found()) != expected:
        assert time.monotonic() < end, f"{what}: {last}, not {expected}"
        await asyncio.sleep(0.5)


def states(house: OldHouse, table: str) -> Callable[[], Awaitable[dict[str, str]]]:
    """Return what reads the states of the jobs that the fixture names."""
    names = {one["job_id"]: name for name, one in house.scenario["jobs"][table].items()}

    async def read_states() -> dict[str, str]:
        rows = await house.fetch(f"SELECT id, state FROM {table} WHERE id = ANY($1)", list(names))
        return {names[row["id"]]: row["state"] for row in rows}

    return read_states


async def of_rules(house: OldHouse, table: str) -> Counter[tuple[str, str]]:
    rows = await house.fetch(f"SELECT rule, state FROM {table} WHERE rule <> ''")
    return Counter((row["rule"], row["state"]) for row in rows)


async def test_it_goes_on(house: OldHouse) -> None:
    names = list(house.scenario["ports"])
    with willing(names, house.services.dicom_port) as peers:
        await house.set_down(peers.ports)
        dead = {name: n for name, n in (await house.depths()).items() if name.endswith(".dead")}
        await house.services.start(*_SERVICES)
        await house.log_in()
        await everything_is_listed(house)
        await the_session_continues(house)
        await studies_are_found(house)
        await transmit_jobs_end(house, peers)
        await retrieve_jobs_end(house, peers)
        await print_jobs_end(house, peers)
        await messages_are_taken(house, dead)
        await nothing_is_left_to_say(house)
        await nothing_is_done_twice(house, peers)
        await whom_nobody_waited_for_goes_last(house, peers)


async def everything_is_listed(house: OldHouse) -> None:
    for path in ("/destinations", "/rules", "/printers", "/print/rules", "/mpps"):
        then = house.scenario["listed"][path]
        key = "sop_instance_uid" if path == "/mpps" else "name"
        now = {one[key]: one for one in (await house.call("GET", f"/api/v1{path}"))["data"]}
        assert set(now) == {one[key] for one in then}
        for one in then:
            assert goes_on(one, now[one[key]], but=CHANGES_BY_ITSELF) == []
    for words, key in ((("ae", "list", "--json"), "ae"), (("quarantine", "list", "--json"), "")):
        told = await ingest_says(house, *words)
        listed = json.loads(told)["senders"] if key else [json.loads(x) for x in told.splitlines()]
        assert goes_on(house.scenario["listed"][words[0]], listed, but=frozenset()) == []
    for name, one in house.scenario["jobs"]["transmit.procedure_step"].items():
        step = await house.call("GET", f"/api/v1/mpps/{one['sop_instance_uid']}")
        assert step["state"] == {"begun": "IN PROGRESS", "completed": "COMPLETED"}[name]
        assert "Invented^One" in json.dumps(step["attributes"])


async def ingest_says(house: OldHouse, *words: str) -> str:
    environment = house.services.environment("ingest", 0) | {"DARKROOM_HEALTH_PORT": "1"}
    code, told, trouble = await run_command("ingest", *words, environment=environment)
    assert code == 0, trouble
    return told


async def the_session_continues(house: OldHouse) -> None:
    given = {"refresh_token": house.keys["refresh_token"]}
    pair = await house.call("POST", "/api/v1/auth/refresh", given)
    assert (pair["user"]["username"], pair["user"]["roles"]) == ("reader", ["radiologist"])
    me = await house.call("GET", "/api/v1/auth/me")
    assert me["username"] == "admin"


async def studies_are_found(house: OldHouse) -> None:
    """Those indexed then, by what only the keys of then can find; and those that waited."""

    async def numbers() -> dict[str, int]:
        found = await house.call("GET", "/dicom-web/studies?PatientID=INV-*&limit=50")
        return {one["00100020"]["Value"][0]: one["00201208"]["Value"][0] for one in found}

    expected = {"INV-1": 3, "INV-2": 1, "INV-3": 2, "INV-5": 2, "INV-6": 1, "INV-7": 1}

    async def ours() -> dict[str, int]:
        return {k: v for k, v in (await numbers()).items() if k != "INV-8"}  # priors

    await until("studies", ours, expected)
    (one,) = await house.call("GET", "/dicom-web/studies?PatientName=Invented%5EThree")
    assert one["00100020"]["Value"] == ["INV-3"]
    for name, study in house.scenario["objects"].items():
        if name in ("deleted", "quarantined"):
            continue
        for uid, known in study["instances"].items():
            where = (
                f"/dicom-web/studies/{study['study_instance_uid']}"
                f"/series/{study['series_instance_uid']}/instances/{uid}"
            )
            body = await house.call("GET", where)
            part = body.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0].removesuffix(b"\r\n")
            assert digest(data_set_of(part)) == known, name
    (conflicts,) = await house.fetch("SELECT count(*) FROM index.conflict")
    assert conflicts[0] == 1


async def transmit_jobs_end(house: OldHouse, peers: Peers) -> None:
    expected = {
        "closed": "PENDING", "cancelled": "CANCELLED", "retrying": "SENT",
        "retrying-single": "SENT", "failed": "FAILED", "committed": "COMMITTED",
        "asked": "COMMITTED", "wanted": "COMMITTED", "web": "SENT", "sending": "SENT",
        "waiting": "SENT", "accepted": "SENT",
    }  # fmt: skip
    now = datetime.now(UTC)
    if (now.weekday(), now.hour) == (6, 3):  # its window is a minute of this hour
        del expected["closed"]
    read_states = states(house, "transmit.job")

    async def some() -> dict[str, str]:
        return {k: v for k, v in (await read_states()).items() if k in expected}

    await until("transmit jobs", some, expected)

    # The studies that waited somewhere have come, and the rule has sent each of them.
    async def by_rule() -> Counter[tuple[str, str]]:
        return await of_rules(house, "transmit.job")

    try:
        await until("jobs of the rule", by_rule, {("ct-to-pacs", "SENT"): 5})
    except AssertionError as error:
        error.add_note(await where_studies_are(house))
        raise
    sending = house.job("transmit.job", "sending")
    waited = house.states(
        "transmit.job_instance", "sop_instance_uid",
        lambda row: row["job_id"] == sending and row["state"] == "PENDING",
    )  # fmt: skip
    assert sorted(peers.stores["SLOW"].uids) == waited
    (row,) = await house.fetch("SELECT * FROM transmit.job WHERE id = $1", sending)
    assert (row["sent"], row["failed"], row["attempts"], row["lease_owner"]) == (3, 0, 2, "")
    assert sorted(peers.stores["AWAY"].uids) == house.instances("ct", "single")
    assert peers.stores["REFUSING"].connections == []
    assert sorted(peers.web.stored) == house.instances("single")
    login = base64.b64encode(f"darkroom:{house.keys['login_secret']}".encode()).decode()
    assert peers.web.authorization == f"Basic {login}"
    for name, study in (("KEEPER", "ct"), ("KEEPER-LATE", "single")):
        keeper = peers.keepers[name]
        assert [sorted(uids) for uids in keeper.asked] == [house.instances(study)]
        assert keeper.arrived == []


async def where_studies_are(house: OldHouse) -> str:
    """Return what tells where a study waits that no rule has sent."""
    studies = await house.fetch("SELECT study_instance_uid, status FROM index.study")
    jobs = await house.fetch(
        "SELECT study_instance_uid, rule, state, attempts FROM transmit.job WHERE rule <> ''"
    )
    return f"{[tuple(x) for x in studies]} {[tuple(x) for x in jobs]} {await house.depths()}"


async def retrieve_jobs_end(house: OldHouse, peers: Peers) -> None:
    expected = {
        "failed": "FAILED", "retrying": "DONE", "retrieving": "DONE", "pending": "DONE",
        "cancelled": "CANCELLED",
    }  # fmt: skip
    await until("retrieve jobs", states(house, "transmit.retrieve"), expected)

    async def prior() -> Counter[tuple[str, str]]:
        return await of_rules(house, "transmit.retrieve")

    await until("the prior", prior, {("priors", "DONE"): 1})

    async def prefetches() -> dict[str, str]:
        rows = await house.fetch("SELECT rule, state FROM transmit.prefetch")
        return {row["rule"]: row["state"] for row in rows}

    await until("prefetches", prefetches, {"priors": "DONE", "distant-priors": "DONE"})
    jobs = house.scenario["jobs"]["transmit.retrieve"]
    wanted = {name: one["study_instance_uid"] for name, one in jobs.items()}
    asked = sorted([wanted["retrieving"], wanted["pending"], house.scenario["prior"]])
    assert sorted(peers.archives["ARCHIVE"].moved) == asked
    assert peers.archives["DISTANT"].moved == [wanted["retrying"]]
    assert peers.archives["DISTANT"].asked == ["INV-3"]
    assert peers.archives["UNWILLING"].moved == []


async def print_jobs_end(house: OldHouse, peers: Peers) -> None:
    expected = {
        "unknown": "UNKNOWN", "printing": "DONE", "queued": "DONE", "acting": "UNKNOWN",
        "composing": "DONE", "retrying": "DONE", "cancelled": "CANCELLED", "waiting": "DONE",
        "accepted": "DONE",
    }  # fmt: skip
    await until("print jobs", states(house, "print.job"), expected)

    async def by_rule() -> Counter[tuple[str, str]]:
        return await of_rules(house, "print.job")

    await until("films of the rule", by_rule, {("ct-films", "DONE"): 5})
    printed = {name: len(printer.films) for name, printer in peers.printers.items()}
    # Three by the rule, one of the job that was accepted, two of the one that waited in its queue.
    assert printed == {
        "FILM": 6, "FILM-LOST": 0, "FILM-STUCK": 2, "FILM-ACTING": 0, "FILM-SILENT": 1,
        "FILM-AWAY": 1,
    }  # fmt: skip


async def messages_are_taken(house: OldHouse, dead: dict[str, int]) -> None:
    await until("queues", house.depths, dict.fromkeys(house.broker["queues"], 0))

    async def kept() -> int:
        (row,) = await house.fetch("SELECT count(*) FROM api.dead_letter")
        return int(row[0])

    await until("dead letters", kept, sum(dead.values()))


async def nothing_is_left_to_say(house: OldHouse) -> None:
    for schema in ("index", "transmit", "print"):

        async def left(schema: str = schema) -> int:
            (row,) = await house.fetch(f"SELECT count(*) FROM {schema}.outbox")
            return int(row[0])

        await until(f"outbox of {schema}", left, 0)
    single = house.scenario["objects"]["single"]["study_instance_uid"]
    (row,) = await house.fetch(
        "SELECT status FROM index.study WHERE study_instance_uid = $1", single
    )
    assert row["status"] == "archived"


async def nothing_is_done_twice(house: OldHouse, peers: Peers) -> None:
    """What was done before the old stack stopped comes again, as after a lost acknowledgement."""
    tables = ("transmit.job", "print.job", "index.instance", "index.study", "transmit.prefetch")

    async def counts() -> list[int]:
        return [(await house.fetch(f"SELECT count(*) FROM {t}"))[0][0] for t in tables]

    before, dead = await counts(), await house.depths()
    assert await house.deliver_again() > len(tables)
    await until("queues", house.depths, dead)
    await asyncio.sleep(2)
    assert await counts() == before
    arrived = house.instances("mr", "single", "completed", "stored", "spooled")
    assert sorted(peers.stores["PACS"].uids) == arrived


async def whom_nobody_waited_for_goes_last(house: OldHouse, peers: Peers) -> None:
    """The destination that was never open is opened."""
    then = next(one for one in house.scenario["listed"]["/destinations"] if one["name"] == "CLOSED")
    told = ("name", "version", "breaker", "breaker_reason", "breaker_until", "created_at",
            "updated_at")  # fmt: skip
    change = {key: value for key, value in then.items() if key not in told}
    change |= {"windows": [], "port": peers.ports["CLOSED"]}
    await house.call("PUT", "/api/v1/destinations/CLOSED", change)

    async def closed() -> str:
        return (await states(house, "transmit.job")())["closed"]

    await until("the closed one", closed, "SENT")
    assert sorted(peers.stores["CLOSED"].uids) == house.instances("ct")


def test_messages_of_that_time_are_understood() -> None:
    """Every type that was registered then, and what was sealed in it."""
    recorded = read("messages.json")["messages"]
    seal = Seal(PhiKeys.parse(read("keys.json")["settings"]["PHI_KEYS"]))
    kinds = set()
    for one in recorded:
        content = json.loads(one["body"])
        if one["kind"] == "reply":
            reply = Reply.model_validate_json(one["body"])
            assert goes_on(content, reply.model_dump(mode="json"), but=frozenset()) == []
        else:
            kinds.add(one["type"])
            message = decode(one["properties"]["type"], one["body"].encode())
            now = json.loads(message.to_body())
            if one["type"] in EARLIER:  # it told of one object
                now |= now["items"][0]
            assert goes_on(content, now, but=frozenset()) == []
        if content.get("sealed"):
            seal.open(content["sealed"], purpose=one["type"])
    assert kinds == set(read("messages.json")["registered"])
