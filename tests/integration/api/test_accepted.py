"""What was answered 202 is there from the next request on, whatever is down, and is done once.

`DARKROOM_TEST_ACCEPTED` is how many commands of each kind are given; more, for a measurement.
"""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pynetdicom import evt
from pynetdicom.events import Event

from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.events import CommandRefused
from darkroom_local.engines.ports import LOOPBACK, free_port
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ
from tests.integration.print.pictures import an_image
from tests.integration.print.printers import ScriptedPrinter
from tests.integration.print.printers import scripted as scripted_printer
from tests.integration.transmit.nodes import FIND, GET, MOVE
from tests.integration.transmit.nodes import scripted as scripted_node
from tests.integration.transmit.test_rest import Both, a_destination, both_of
from tests.support.builders import new_uid
from tests.support.scripted_peer import ScriptedPeer
from tests.support.services import Services
from tests.support.waiting import until

MANY = int(os.environ.get("DARKROOM_TEST_ACCEPTED", "4"))
LIMIT = 60.0 + MANY
LISTS = {"send": "/transmit/jobs", "retrieve": "/retrieve/jobs", "print": "/print/jobs"}
ENDED = {"SENT", "DONE", "FAILED"}


@dataclass
class House:
    """The api and its workers, with what they work for."""

    both: Both
    peer: ScriptedPeer
    printer: ScriptedPrinter
    asked: Counter[str]
    study: str
    image: str
    given: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in LISTS})
    waited: list[float] = field(default_factory=list)

    def request(self, kind: str) -> tuple[str, dict[str, Any]]:
        if kind == "send":
            return LISTS[kind], {"destination": "PEER", "study_instance_uid": self.study}
        if kind == "print":
            return LISTS[kind], {"printer": "FILM", "images": [{"sop_instance_uid": self.image}]}
        return "/remote/NODE/retrieve", {"study_instance_uid": new_uid(), "method": "get"}

    async def give(self, kind: str) -> str:
        """Give a command, and see it at once under its id and once in the list."""
        client = self.both.api.client
        path, body = self.request(kind)
        answer = await client.post(f"/api/v1{path}", json=body)
        assert answer.status_code == 202, answer.text
        began = time.perf_counter()
        shown = await client.get(answer.headers["location"])
        self.waited.append(time.perf_counter() - began)
        assert shown.status_code == 200, shown.text
        job: str = answer.json()["job_id"]
        assert shown.json()["job_id"] == job
        listed = await client.get(f"/api/v1{LISTS[kind]}", params={"page_size": 200})
        assert [one["job_id"] for one in listed.json()["data"]].count(job) == 1
        self.given[kind].append(job)
        return job

    async def give_all(self, at_once: int) -> None:
        turn = asyncio.Semaphore(at_once)

        async def one(kind: str) -> None:
            async with turn:
                await self.give(kind)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(MANY):
                for kind in LISTS:
                    tasks.create_task(one(kind))

    async def states(self, kind: str) -> dict[str, str]:
        """Return the state of every job, page by page along the cursor."""
        found: list[tuple[str, str]] = []
        url = f"/api/v1{LISTS[kind]}?page_size=200"
        while url:
            answer = await self.both.api.client.get(url)
            found += [(one["job_id"], one["state"]) for one in answer.json()["data"]]
            url = answer.links["next"]["url"] if "next" in answer.links else ""
        assert len(dict(found)) == len(found)
        return dict(found)

    async def all_done_once(self) -> None:
        async with asyncio.timeout(LIMIT):
            for kind, jobs in self.given.items():
                while not (found := await self.states(kind)).keys() >= set(jobs) or (
                    set(found.values()) - ENDED
                ):
                    await asyncio.sleep(0.1)
                assert found.keys() == set(jobs)
                ends = set(found.values())
                assert ends == {{"send": "SENT", "print": "DONE", "retrieve": "FAILED"}[kind]}
        assert Counter(self.peer.uids) == {self.image: MANY}
        assert len(self.printer.films) == MANY
        assert len(self.asked) == MANY  # the node had nothing of these studies, asked once for each
        assert set(self.asked.values()) == {1}


@asynccontextmanager
async def house_of(services: Services) -> AsyncIterator[House]:
    asked: Counter[str] = Counter()

    def nothing(event: Event) -> Iterator[Any]:
        asked[str(event.identifier.StudyInstanceUID)] += 1
        yield 0

    services.extra |= {"INGEST_DICOM_PORT": str(free_port())}
    handlers: Any = [(evt.EVT_C_GET, nothing)]
    async with both_of(services) as both:
        await services.start("transmit", "print")
        with (
            ScriptedPeer() as peer,
            scripted_printer() as printer,
            scripted_node([FIND, GET, MOVE], handlers) as node,
        ):
            for name, port in (("PEER", peer.port), ("NODE", node)):
                given = {"name": name, **a_destination(port)}
                await both.call("POST", "/destinations", 201, json=given)
            film = {"name": "FILM", "host": LOOPBACK, "port": printer.port, "ae_title": "FILM"}
            await both.call("POST", "/printers", 201, json={**film, "dpi": 30})
            image = an_image()
            await both.desk.seed.add(image)
            study, uid = str(image.StudyInstanceUID), str(image.SOPInstanceUID)
            yield House(both, peer, printer, asked, study, uid)


def halt(services: Services, what: signal.Signals) -> None:
    for name in ("transmit", "print"):
        process = services.running[name].process
        assert process is not None
        process.send_signal(what)


@pytest.mark.req("API-22")
@pytest.mark.parametrize("at_once", [1, 20], ids=["idle", "loaded"])
async def test_a_job_is_there_at_once(services: Services, at_once: int) -> None:
    async with house_of(services) as house:
        await house.give_all(at_once)
        await house.all_done_once()
        _tell(f"at once: {at_once}", house)


@pytest.mark.req("API-22")
async def test_a_job_is_there_while_the_workers_stand_still(services: Services) -> None:
    async with house_of(services) as house:
        halt(services, signal.SIGSTOP)
        try:
            await house.give_all(4)
            for kind in LISTS:
                assert set((await house.states(kind)).values()) == {"ACCEPTED"}
        finally:
            halt(services, signal.SIGCONT)
        await house.all_done_once()
        _tell("workers stopped", house)


async def test_who_asks_is_audited_in_the_transaction_that_keeps_the_job(
    services: Services,
) -> None:
    async with house_of(services) as house:
        halt(services, signal.SIGSTOP)
        try:
            await house.give_all(1)
            rows = await house.both.desk.prepared.fetch(
                "SELECT l.resource_id, l.xmin::text = a.xmin::text AS together, l.outcome"
                " FROM api.audit_log l LEFT JOIN api.accepted a ON a.job_id = l.resource_id"
                " WHERE l.action = 'JOB_CREATE'"
            )
        finally:
            halt(services, signal.SIGCONT)
        jobs = [job for given in house.given.values() for job in given]
        assert sorted(row["resource_id"] for row in rows) == sorted(jobs)
        assert {(row["together"], row["outcome"]) for row in rows} == {(True, "success")}
        await house.all_done_once()


@pytest.mark.req("API-22")
async def test_a_job_is_there_and_outlives_the_stop_of_rabbitmq_and_of_the_api(
    tmp_path: Path, superuser_url: str, own_rabbitmq: PrivateRabbitMQ
) -> None:
    services = Services(tmp_path, superuser_url, own_rabbitmq.url())
    try:
        async with house_of(services) as house:
            await own_rabbitmq.stop()
            await house.give_all(4)
            cancelled = await house.give("send")
            path = f"/api/v1/transmit/jobs/{cancelled}/cancel"

            async def cancel() -> dict[str, Any] | None:
                """The outbox may just try to send it: 409 asks to try again."""
                answer = await house.both.api.client.post(path)
                assert answer.status_code in (200, 409), answer.text
                return answer.json() if answer.status_code == 200 else None

            assert (await until(cancel, "the job is cancelled"))["state"] == "CANCELLED"
            await services.running["api"].kill()
            await services.start("api")
            for kind in LISTS:
                states = await house.states(kind)
                assert states.pop(cancelled, "CANCELLED") == "CANCELLED"
                assert set(states.values()) == {"ACCEPTED"}
                assert len(states) == MANY
            await own_rabbitmq.start()
            house.given["send"].remove(cancelled)
            path = "/api/v1/transmit/jobs?state=CANCELLED"
            listed = await house.both.api.client.get(path)
            assert [one["job_id"] for one in listed.json()["data"]] == [cancelled]
            rows = await house.both.desk.prepared.fetch(
                "DELETE FROM api.accepted WHERE state = 'CANCELLED' RETURNING job_id"
            )
            assert [row["job_id"] for row in rows] == [cancelled]
            await house.all_done_once()
            _tell("RabbitMQ stopped", house)
    finally:
        await services.stop()


async def _eventually(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT):
        while not await true():
            await asyncio.sleep(0.1)


@pytest.mark.req("API-22")
async def test_the_same_key_answers_the_same_job(services: Services) -> None:
    async with house_of(services) as house:
        client, desk = house.both.api.client, house.both.desk
        halt(services, signal.SIGSTOP)

        async def post(key: str, kind: str = "send", **changes: Any) -> httpx.Response:
            path, body = house.request(kind)
            headers = {"idempotency-key": key}
            return await client.post(f"/api/v1{path}", json={**body, **changes}, headers=headers)

        answers = await asyncio.gather(*(post("a") for _ in range(8)))
        assert {answer.status_code for answer in answers} == {202}
        (job,) = {answer.json()["job_id"] for answer in answers}
        assert (await post("a", priority="medium")).json()["job_id"] == job  # said or not
        for wrong in (await post("a", priority="high"), await post("a", "print")):
            assert (wrong.status_code, wrong.json()["code"]) == (422, 4001)
            assert wrong.json()["errors"][0]["field"] == "Idempotency-Key"
        assert (await post("b")).json()["job_id"] != job
        assert (await post("x" * 256)).status_code == 422
        await desk.prepared.fetch("UPDATE api.accepted SET created_at = now() - interval '25 h'")
        assert (await post("a", priority="high")).json()["job_id"] != job
        halt(services, signal.SIGCONT)
        rows = await desk.prepared.fetch("SELECT job_id FROM api.accepted")
        assert len(rows) == 3


async def test_what_the_owner_would_refuse_is_refused_before(services: Services) -> None:
    async with house_of(services) as house:
        call, unknown = house.both.call, new_uid()
        stow = {"name": "WEB", "kind": "stow", "url": "http://127.0.0.1:1/dicom-web"}
        await call("POST", "/destinations", 201, json=stow)
        asked = {"study_instance_uid": house.study}
        images = {"images": [{"sop_instance_uid": house.image}]}
        for path, status, body in (
            ("/transmit/jobs", 404, {**asked, "destination": "NOBODY"}),
            ("/transmit/jobs", 404, {"study_instance_uid": unknown, "destination": "PEER"}),
            ("/remote/NOBODY/retrieve", 404, asked),
            ("/remote/WEB/retrieve", 422, asked),
            ("/print/jobs", 404, {**images, "printer": "NOBODY"}),
            ("/print/jobs", 404, {"study_instance_uid": unknown, "printer": "FILM"}),
            ("/print/jobs", 422, {**images, "printer": "FILM", "layout": "STANDARD\\0,9"}),
        ):
            await call("POST", path, status, json=body)
        assert await house.both.desk.prepared.fetch("SELECT FROM api.accepted") == []


@pytest.mark.req("API-22")
async def test_what_the_owner_refuses_fails_with_the_reason(services: Services) -> None:
    async with house_of(services) as house:
        client, desk = house.both.api.client, house.both.desk
        halt(services, signal.SIGSTOP)
        job = await house.give("retrieve")
        rows = await desk.prepared.fetch(
            "SELECT command_id FROM api.accepted WHERE job_id = $1", job
        )
        refused = CommandRefused(
            command_id=rows[0]["command_id"], type="transmit.retrieve.v1", reason="No such."
        )
        for event in (refused, refused, refused.model_copy(update={"id": new_message_id()})):
            await desk.publish(event)

        async def failed() -> bool:
            shown = (await client.get(f"/api/v1/retrieve/jobs/{job}")).json()
            return (shown["state"], shown["reason"]) == ("FAILED", "No such.")

        await _eventually(failed)
        listed = await client.get("/api/v1/retrieve/jobs?state=FAILED")
        assert [one["job_id"] for one in listed.json()["data"]] == [job]
        for action in ("retry", "cancel"):
            answer = await client.post(f"/api/v1/retrieve/jobs/{job}/{action}")
            assert answer.status_code == 409
        halt(services, signal.SIGCONT)


async def test_rows_are_tidied_only_when_taken(services: Services) -> None:
    async with house_of(services) as house:
        desk = house.both.desk
        taken = await house.give("print")
        await house.both.call("GET", f"/print/jobs/{taken}", 200)

        async def marked() -> bool:
            sql = "SELECT FROM api.accepted WHERE job_id = $1 AND taken_at IS NOT NULL"
            return bool(await desk.prepared.fetch(sql, taken))

        await _eventually(marked)
        halt(services, signal.SIGSTOP)
        waiting = await house.give("print")
        old = "UPDATE api.accepted SET created_at = now() - interval '2 days', taken_at ="
        await desk.prepared.fetch(f"{old} taken_at - interval '2 days'")

        async def gone() -> bool:
            rows = await desk.prepared.fetch("SELECT job_id FROM api.accepted")
            return [row["job_id"] for row in rows] == [waiting]

        await _eventually(gone)
        for job in (taken, waiting):
            await house.both.call("GET", f"/print/jobs/{job}", 200)
        halt(services, signal.SIGCONT)


def _tell(condition: str, house: House) -> None:
    """Say what a measurement wants to know (`pytest -s`)."""
    waits = sorted(1e3 * seconds for seconds in house.waited)
    middle, last = waits[len(waits) // 2], waits[-1]
    sys.stderr.write(f"{condition}: {len(waits)} read, {middle:.0f} ms, at most {last:.0f} ms\n")
