"""The jobs that the API does itself, beside answering: exports, bulk changes and e-mail."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from darkroom_api.audit.log import AuditLog
from darkroom_api.bulk.changes import Changes
from darkroom_api.bulk.repository import BulkJobs
from darkroom_api.bulk.working import Bulk
from darkroom_api.callbacks.addresses import Allowed
from darkroom_api.callbacks.calling import Caller, tls_context
from darkroom_api.callbacks.repository import Deliveries
from darkroom_api.callbacks.sending import Posting
from darkroom_api.events import log
from darkroom_api.events.recording import Recording
from darkroom_api.exports import making
from darkroom_api.exports.making import Files, Making, Select
from darkroom_api.exports.repository import Exports
from darkroom_api.jobs.running import run_jobs
from darkroom_api.licence.standing import INBOX as LICENCES
from darkroom_api.mail.delivery import Delivery, MailServer
from darkroom_api.mail.notices import INBOX, Notices
from darkroom_api.mail.repository import Mail
from darkroom_api.settings import ApiSettings
from darkroom_api.studies.examinations import Examinations
from darkroom_common.amqp.broker import Broker
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.table import JobTable
from darkroom_common.jobs.tidy import Removal, tidy
from darkroom_common.objects.store import below, open_store
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Database, open_database
from darkroom_common.seal import Seal
from darkroom_common.topology import API_NOTICES
from darkroom_common.workers.pool import open_workers

CONNECTIONS: Final = 4
"""For claims, leases and ends of jobs, and one that holds the name of the replica."""
KEPT: Final = timedelta(days=7)
_HIDDEN: Final = ".exports"
_SETTLED: Final = timedelta(hours=1)
"""After which nobody is at work at a delivery any more."""


@dataclass(frozen=True)
class OwnJobs:
    """What routes ask of the jobs, and what runs them."""

    exports: Exports
    making: Making
    bulk: Bulk
    mail: Mail
    works: tuple[Callable[[], Awaitable[None]], ...]
    claims: tuple[Claims[Any], ...]
    database: Database
    replica: str
    notices: Notices
    deliveries: Deliveries
    recording: Recording
    event_log: timedelta

    async def run(self) -> None:
        """Run them until cancelled; see `run_jobs`."""
        await run_jobs(self.database, self.claims, self.works, host=self.replica)

    async def notice(self, broker: Broker) -> None:
        """Take what others have to tell, until cancelled."""
        await broker.consume(API_NOTICES, self.notices.handle)

    async def tidy(self) -> None:
        """Forget e-mail and bulk changes that are over, until cancelled."""
        sent = Removal("mail", self.mail.table.remove, KEPT)
        made = Removal("bulk changes", self.bulk.jobs.table.remove, KEPT)
        events = Removal("events", log.remove, self.event_log)
        lost = Removal("deliveries of removed callbacks", self.deliveries.forget, _SETTLED)
        await tidy(self.database, inboxes=(INBOX, LICENCES), removals=(sent, made, events, lost))


@asynccontextmanager
async def open_own_jobs(
    settings: ApiSettings, *, outbox: Outbox, select: Select, exams: Examinations, audit: AuditLog
) -> AsyncIterator[OwnJobs]:
    """Hold them for the length of a block, with connections and processes of their own."""
    seal = Seal(exams.keys)
    url = settings.exports_url or below(settings.store_url, _HIDDEN)
    files = Files(open_store(url, setting="EXPORTS_URL"), url, exams.keys)
    async with (
        open_database(
            settings.postgres_url.get_secret_value(), service="api-jobs", size=CONNECTIONS
        ) as database,
        open_workers(
            making.MODULE, str(making.MOST_MEMORY), processes=settings.exports_at_once, fresh=True
        ) as workers,
    ):
        claims = partial(_claims, database, settings.lease_seconds)
        exports = Exports(outbox, settings.exports_at_once)
        mail = Mail(outbox, seal, enabled=settings.smtp_host is not None)
        made = Making(
            claims(exports.table),
            exports,
            workers,
            files,
            select,
            seal,
            settings.postgres_url,
            settings.phi_keys,
            settings.exports_at_once,
            mail,
            settings.store_url,
        )
        bulk_jobs = BulkJobs(outbox, seal)
        changes = Changes(exams, audit, mail, settings.mail_physicians or "")
        bulk = Bulk(claims(bulk_jobs.table), bulk_jobs, changes, seal)
        deliveries = Deliveries(outbox, seal, mail, settings.mail_operators)
        posting = Posting(claims(deliveries.table), deliveries, _caller(settings))
        works = [made.runner.run, made.sweep, bulk.runner.run, posting.runner.run]
        kinds: list[Claims[Any]] = [made.claims, bulk.claims, posting.runner.claims]
        server = _server(settings)
        if server is not None:
            sending = claims(mail.table)
            works.append(Delivery(sending, mail, server, settings.public_url or "").runner.run)
            kinds.append(sending)
        notices = Notices(database, mail, settings.mail_operators)
        yield OwnJobs(
            exports,
            made,
            bulk,
            mail,
            tuple(works),
            tuple(kinds),
            database,
            settings.replica,
            notices,
            deliveries,
            Recording(database, deliveries),
            timedelta(hours=settings.event_log_hours),
        )


def _claims(database: Database, lease_seconds: float, table: JobTable[Any]) -> Claims[Any]:
    return Claims(table, database, "", lease_seconds)


def _caller(settings: ApiSettings) -> Caller:
    allowed = Allowed(settings.callback_networks)
    return Caller(
        allowed,
        settings.callback_http,
        tls_context(settings.callback_ca, strict=settings.tls_strict),
    )


def _server(settings: ApiSettings) -> MailServer | None:
    if settings.smtp_host is None or settings.mail_from is None:
        return None
    return MailServer(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_security,
        settings.smtp_ca,
        settings.smtp_username,
        settings.smtp_password,
        settings.mail_from,
        strict=settings.tls_strict,
    )
