"""Commands become jobs once; what its owner cannot take is refused where its sender sees it."""

import json

from darkroom_common.errors import PermanentError
from darkroom_common.jobs.intake import Intake
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import RetrieveFromRemote, SendObjects, StartMigration
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.remote import MigrationSpec
from darkroom_transmit.handlers import Handlers
from darkroom_transmit.migration.repository import MigrationJobs
from darkroom_transmit.retrieval.repository import RetrieveJobs
from darkroom_transmit.sending.repository import SendJobs
from tests.support.database import Prepared


async def test_commands_are_taken_once_and_the_impossible_is_a_failed_job(
    superuser_url: str,
) -> None:
    prepared = await Prepared.make(superuser_url, "metadata", "transmit")
    outbox = Outbox("transmit")
    woken: list[str] = []
    async with prepared.login("transmit") as database:
        handlers = Handlers(
            Intake(database, Inbox("transmit", "transmit.jobs"), outbox),
            SendJobs(outbox),
            RetrieveJobs(outbox),
            MigrationJobs(outbox),
            woken.append,
        )
        send = SendObjects(job_id=new_message_id(), destination="NO", study_instance_uid="1.2")
        retrieve = RetrieveFromRemote(
            job_id=new_message_id(), remote="NO", study_instance_uid="1.2"
        )
        spec = MigrationSpec(way="get", source="NO")
        move = StartMigration(job_id=new_message_id(), spec=spec)
        for message in (send, retrieve, move):
            for _ in range(2):
                await handlers.accept_job(message)
            again = message.model_copy(update={"id": new_message_id()})
            await handlers.accept_job(again)  # another message of the same job
    assert woken == ["NO"]
    for table in ("job", "retrieve", "migration"):
        rows = await prepared.fetch(f"SELECT state, reason, finished_at FROM transmit.{table}")
        assert [tuple(row)[:2] for row in rows] == [("FAILED", "UnknownDestination")]
        assert rows[0]["finished_at"] is not None
    rows = await prepared.fetch("SELECT type FROM transmit.outbox ORDER BY id")
    assert [row["type"] for row in rows] == ["transmit.job.changed.v1", "job.changed.v1"]


async def test_a_command_at_fault_is_refused_once_and_leaves_nothing_else(
    superuser_url: str,
) -> None:
    prepared = await Prepared.make(superuser_url, "metadata", "transmit")
    outbox = Outbox("transmit")
    command = SendObjects(job_id=new_message_id(), destination="NO", study_instance_uid="1.2")

    async def refuse(db: Connection) -> bool:
        await SendJobs(outbox).add(db, command)
        raise PermanentError("it makes no sense")

    async with prepared.login("transmit") as database:
        intake = Intake(database, Inbox("transmit", "transmit.jobs"), outbox)
        for _ in range(2):
            assert not await intake.take(command, refuse)
    assert await prepared.fetch("SELECT FROM transmit.job") == []
    (row,) = await prepared.fetch("SELECT type, body FROM transmit.outbox")
    said = json.loads(row["body"])
    assert row["type"] == "command.refused.v1"
    assert (said["command_id"], said["type"]) == (command.id, "transmit.send.v1")
    assert said["reason"] == "it makes no sense"
