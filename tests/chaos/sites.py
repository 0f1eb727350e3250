"""A site of two that tell each other what was changed, with senders and people at work at it."""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any, Final

import aio_pika
import asyncpg

from darkroom_common.amqp.rabbitmq import declare, open_broker
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import EditStudies, RemoveStudy
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.seal import Seal
from darkroom_common.specs.edits import PURPOSE, Edit
from darkroom_common.topology import WORK_QUEUES
from tests.support.builders import CT, a_data_set, encode
from tests.support.dicom_peer import Association
from tests.support.services import Services, own_url, prepare_database
from tests.support.waiting import lasting

SYNTAX: Final = "1.2.840.10008.1.2.1"
AT_ONCE: Final = 6
"""Studies that objects come of at a time; each gets some 60, then it is the next one's turn."""
_A_STUDY: Final = 30 * AT_ONCE
_MARK: Final = "StudyDescription"


@dataclass
class Site:
    """One of them, with what its senders were told."""

    name: str
    services: Services
    stored: set[str] = field(default_factory=set)
    edits: int = 0

    async def rows(self, sql: str, *values: object) -> list[Any]:
        connection = await asyncpg.connect(self.services.superuser_url)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    def send(self, study: str) -> None:
        """Send one object; what is answered with success is written down."""
        data_set = a_data_set(StudyInstanceUID=study, PatientID=f"P-{study[-6:]}")
        uid = str(data_set.SOPInstanceUID)
        with Association(self.services.dicom_port, {1: (CT, SYNTAX)}) as association:
            if association.store(1, CT, uid, encode(data_set)) == 0:
                self.stored.add(uid)

    async def load(self, root: str, rate: float, ending: asyncio.Event) -> None:
        """Send and edit until it is enough.

        Args:
            root: what the UIDs of studies begin with, at both sites: they send of the same ones.
            rate: objects a second; after every tenth object there is an edit.
            ending: ends it.
        """
        keys = PhiKeys.parse(self.services.secrets["PHI_KEYS"])
        turns = itertools.count()
        url = own_url(self.services.amqp_url, "api")
        async with open_broker(url, service="api") as broker:
            while not ending.is_set():
                turn = next(turns)
                first = turn // _A_STUDY * AT_ONCE
                await asyncio.to_thread(self.send, f"{root}.{first + turn % AT_ONCE + 1}")
                if turn % 10 == 0:
                    self.edits += 1
                    edit = Edit(values={_MARK: f"{self.name} {self.edits}"})
                    await broker.publish(
                        EditStudies(
                            job_id=new_message_id(),
                            action="edit",
                            study_instance_uid=f"{root}.{first + turn // 10 % AT_ONCE + 1}",
                            requested_by=self.name,
                            sealed=Seal(keys).seal(edit.model_dump(), purpose=PURPOSE),
                        )
                    )
                await lasting(1 / rate)

    async def delete(self, study: str) -> None:
        url = own_url(self.services.amqp_url, "api")
        async with open_broker(url, service="api") as broker:
            asked = RemoveStudy(job_id=new_message_id(), action="delete", study_instance_uid=study)
            await broker.publish(asked)

    async def state(self) -> dict[str, tuple[str, str, str]]:
        """Return digest, study and state of the study of each instance."""
        rows = await self.rows(
            "SELECT i.sop_instance_uid AS uid, encode(i.sha256, 'hex') AS sha256,"
            " s.study_instance_uid AS study, s.status = 'deleted' AS gone FROM index.instance i"
            " JOIN index.series e ON e.id = i.series_id JOIN index.study s ON s.id = e.study_id"
        )
        return {row["uid"]: (row["sha256"], row["study"], str(row["gone"])) for row in rows}

    async def waiting(self) -> int:
        (row,) = await self.rows(
            "SELECT (SELECT count(*) FROM index.replication_due) + (SELECT count(*) FROM"
            " index.replication_told WHERE state IN ('waiting', 'working'))"
            " + (SELECT count(*) FROM index.edit WHERE state IN ('PENDING', 'EDITING', 'RETRYING'))"
            " + (SELECT count(*) FROM index.outbox WHERE type LIKE 'dicom.instances.stored%')"
        )
        return int(row[0])

    async def words(self) -> list[Any]:
        """Return what was said last of each attribute, when and where."""
        sql = "SELECT study_instance_uid, keyword, at, site FROM index.replication_said"
        return await self.rows(f"{sql} ORDER BY 1, 2")

    async def conflicts(self) -> int:
        """Return how many objects have come with other bytes."""
        return len(await self.rows("SELECT FROM index.conflict WHERE kind = 'instance'"))

    async def has(self, study: str) -> bool:
        """Tell whether a study is here."""
        return bool(await self.rows("SELECT FROM index.study WHERE study_instance_uid = $1", study))

    async def begin(self, second: str, peer: str, there: str) -> None:
        """Start the services of the site.

        Args:
            second: URL of its second store.
            peer: name of the other site.
            there: URL of the other site's second store.
        """
        services = self.services
        await prepare_database(services.superuser_url, "ingest", "metadata", "api")
        services.extra |= {
            "REPLICATION_SITE": self.name,
            "REPLICATION_URL": second,
            "REPLICATION_PEER": peer,
            "REPLICATION_PEER_URL": there,
            "RETENTION_YEARS": "0",
            "LOG_LEVEL": "INFO",
        }
        async with await aio_pika.connect(services.amqp_url) as connection:
            channel = await connection.channel()
            for (
                queue
            ) in WORK_QUEUES:  # those of services that do not run here: what is told is taken
                await declare(channel, queue)
        await services.start("metadata", "ingest")
