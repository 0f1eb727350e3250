"""From STOW-RS to whoever is told of it: one trace, and the commands that show it."""

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from darkroom_local.commands.overview import look
from darkroom_local.commands.status import watch
from darkroom_local.stack.state import ProcessState, StackState
from darkroom_local.stack.view import SteadyConsole
from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.storing.stowing import Stowing, stowing
from tests.support.builders import a_data_set
from tests.support.callback_receiver import Receiver, a_receiver
from tests.support.commands import run_command
from tests.support.stow import TYPE, a_body, a_file
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NAME = "PLANTED^NAME"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stow(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> AsyncIterator[Stowing]:
    more = {"CALLBACK_NETWORKS": '["127.0.0.0/8"]', "CALLBACK_HTTP": "true"}
    async with stowing(postgres_server, rabbitmq_server, **more) as made:
        yield made


async def command(stow: Stowing, *words: str) -> tuple[int, list[Any]]:
    """A command of the api: its exit code, and the JSON that it says."""
    environment = stow.services.environment("api", 0)
    code, output, errors = await run_command("api", *words, "--json", environment=environment)
    assert NAME not in output + errors
    return code, [json.loads(line) for line in output.splitlines()]


@pytest.mark.req("API-13", "OBS-07")
async def test_one_trace_leads_from_stow_to_the_receiver_of_a_callback(stow: Stowing) -> None:
    async with a_receiver() as receiver:
        given = {"name": "ris", "url": receiver.url, "events": ["instances.stored"]}
        assert (await stow.api.client.post("/api/v1/callbacks", json=given)).status_code == 201
        one = a_data_set(PatientName=NAME)
        answer = await stow.api.client.post(
            "/dicom-web/studies",
            content=a_body([a_file(one)]),
            headers={"content-type": TYPE, "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
        )
        assert answer.status_code == 200
        came = await until(lambda: receiver.came[0] if receiver.came else None)
        assert came.headers["traceparent"].split("-")[1] == TRACE
        assert came.event["data"]["study_instance_uid"] == one.StudyInstanceUID
        assert came.event["data"]["instances"] == [
            {"sop_instance_uid": one.SOPInstanceUID, "sop_class_uid": one.SOPClassUID}
        ]
        assert NAME.encode() not in came.body
        await _shown(stow, receiver)


async def _shown(stow: Stowing, receiver: Receiver) -> None:
    code, told = await command(stow, "events", "--types", "instances.stored")
    assert (code, told[0]["id"]) == (0, receiver.came[0].id)
    code, none = await command(stow, "events", "--after", str(told[0]["number"]))
    assert (code, [one for one in none if one["type"] == "instances.stored"]) == (0, [])

    async def delivered() -> Any:
        _, jobs = await command(stow, "jobs", "list", "--kind", "callback", "--all")
        return [one for one in jobs if one["state"] == "DELIVERED"]

    (job,) = await until(delivered)
    assert (job["kind"], job["lane"]) == ("callback", "ris")
    assert await command(stow, "jobs", "show", job["job_id"]) == (0, [job])
    code, _ = await command(stow, "jobs", "show", "0" * 32)
    assert code == 2
    processes = [
        ProcessState(
            name=name,
            pid=None,
            state="running",
            ready=False,
            reason="",
            restarts=0,
            since=0.0,
            log="",
            health_url=_health(stow, name),
        )
        for name in stow.services.running
    ]
    now = await look(StackState(1, 0.0, "DARKROOM", 1, 1, processes))
    assert now.ready, now.processes
    assert "metadata.index" in now.queues
    assert {"spool", "store"} == set(now.volumes)
    await _watched(stow, processes)
    await stow.services.running["metadata"].kill()
    now = await look(StackState(1, 0.0, "DARKROOM", 1, 1, processes))
    assert "metadata is not ready: does not answer" in now.warnings


async def _watched(stow: Stowing, processes: list[ProcessState]) -> None:
    """The live view is there until the stack says that it has stopped."""
    file, text = stow.services.directory / "state.json", io.StringIO()
    StackState(os.getpid(), 0.0, "DARKROOM", 1, 1, processes).write(file)
    console = SteadyConsole(file=text, force_terminal=True, width=140)
    watching = asyncio.create_task(watch(file, console))
    await until(lambda: text.getvalue().count("volume") > 1 or None, "two pictures")
    file.unlink()
    assert await watching
    assert "━" in text.getvalue()


def _health(stow: Stowing, name: str) -> str:
    return f"http://127.0.0.1:{stow.services.running[name].health_port}"
