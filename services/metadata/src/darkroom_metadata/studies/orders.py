"""Keeps when studies were ordered, as ingest tells it of its worklist (API-19)."""

from dataclasses import dataclass
from typing import Final

from darkroom_common.errors import PermanentError
from darkroom_common.messages.base import Message
from darkroom_common.messages.procedure_steps import StudyOrdered
from darkroom_common.postgres.pool import Database

CONSUMER: Final = "metadata.orders"
_LEARN: Final = "SELECT index.learn_order($1, $2, $3)"


@dataclass
class StudyOrders:
    """Learns of orders; what comes twice, or after a later one, changes nothing."""

    database: Database

    async def handle(self, message: Message) -> None:
        """Keep the time of an order; the study may be there, or may come.

        Raises:
            PermanentError: it is something else.
            DependencyUnavailable: the database is away.
        """
        if not isinstance(message, StudyOrdered):
            raise PermanentError(f"{CONSUMER} does not take {message.TYPE}")
        async with self.database.transaction() as db:
            await db.execute(
                _LEARN, message.study_instance_uid, message.ordered_at, message.version
            )
