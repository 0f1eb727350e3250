"""E-mail in PostgreSQL, a kind of the job engine.

What is about the same again and again, such as a destination that fails, is gathered: one e-mail
waits for a minute for what else there is, and the next comes a quarter of an hour later at the
earliest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from darkroom_api.mail.address import is_address
from darkroom_common.jobs.attempt import Attempt
from darkroom_common.jobs.kind import JobKind, Phases, Row
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.base import new_message_id
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
Template = Literal[
    "physician_assigned",
    "export_ready",
    "commitment_timed_out",
    "job_failed",
    "licence",
    "callback_disabled",
]
PHASES: Final = Phases(
    waiting="PENDING",
    working=("SENDING",),
    retrying="RETRYING",
    ended_well=("SENT",),
    failed="FAILED",
    cancelled="CANCELLED",
)
PURPOSE: Final = "mail"
LISTED: Final = 20
"""Jobs that are named in one e-mail."""
_GATHER_SECONDS: Final = 60.0
_APART_SECONDS: Final = 900.0
_ADD: Final = (
    "INSERT INTO api.mail (id, template, recipient, sealed, traceparent)"
    " VALUES ($1, $2, $3, $4, $5) RETURNING *"
)
_GATHER: Final = (  # mail_gathered; a row that is claimed is in no further one's way
    "INSERT INTO api.mail (id, template, recipient, sealed, traceparent, gathered, items,"
    " next_at, wait_seconds)"
    " SELECT $1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => w.seconds), w.seconds"
    " FROM (SELECT greatest($8::double precision, $9::double precision"
    "   - extract(epoch FROM now() - max(created_at))::double precision) AS seconds"
    "  FROM api.mail WHERE gathered = $6 AND recipient = $3"
    "  AND created_at > now() - make_interval(secs => $9)) AS w"
    " ON CONFLICT (gathered, recipient) WHERE gathered <> '' AND state = 'PENDING'"
    " DO UPDATE SET count = api.mail.count + 1, updated_at = now(),"
    "  items = (api.mail.items || excluded.items)[1:$10]"
    " RETURNING *, (xmax = 0) AS new"
)


@dataclass(frozen=True)
class Gathering:
    """What an e-mail is about when more of the same may come, and what this one adds to it."""

    about: str
    item: str


class Mail:
    """Writes the table `mail`.

    Args:
        outbox: of the service.
        seal: for what an e-mail says.
        enabled: whether there is a mail server; without one nothing is put.
    """

    def __init__(self, outbox: Outbox, seal: Seal, *, enabled: bool) -> None:
        self._seal = seal
        self.enabled = enabled
        self.kind = JobKind(
            name="mail", table="api.mail", lane="template", phases=PHASES, attempt=Attempt
        )
        self.table: JobTable[Attempt] = JobTable(self.kind, outbox)

    async def put(
        self,
        db: Connection,
        template: Template,
        to: str,
        values: Mapping[str, Any],
        gathering: Gathering | None = None,
    ) -> bool:
        """Have an e-mail sent, once the caller's transaction is committed.

        It is delivered at least once, each time with the same Message-ID.

        Args:
            db: within a transaction.
            template: what it says.
            to: one address.
            values: of the template, as JSON: nothing that identifies a patient.
            gathering: for what comes again and again; the template gets `count` and `jobs`.

        Returns:
            Whether it will be sent: not without a mail server, nor to what is no address.
        """
        if not self.enabled or not is_address(to):
            log.info("mail.left_out", template=template, configured=self.enabled)
            return False
        trace = traces.inject().get("traceparent", "")
        bound = (
            new_message_id(),
            template,
            to,
            self._seal.seal(dict(values), purpose=PURPOSE),
            trace,
        )
        if gathering is None:
            row: Any = await db.fetchrow(_ADD, *bound)
            await self.table.entered(db, row)
            return True
        of = gathering.about[:200], [gathering.item]
        row = await db.fetchrow(_GATHER, *bound, *of, _GATHER_SECONDS, _APART_SECONDS, LISTED)
        if row["new"]:
            await self.table.entered(db, row)
        return True

    def values(self, row: Row) -> dict[str, Any]:
        """Return what the template of an e-mail gets.

        Raises:
            Unsealable: see there.
        """
        said: dict[str, Any] = self._seal.open(row["sealed"], purpose=PURPOSE)
        items: Sequence[str] = row["items"]
        return {**said, "count": row["count"], "jobs": list(items)} if row["gathered"] else said
