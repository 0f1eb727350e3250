"""How transmit is put together."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from typing import Final

from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.associations.relay import JournalRelay
from darkroom_common.dimse.acceptor import Door
from darkroom_common.dimse.journal import keep_journal
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.index.compatibility import check_index
from darkroom_common.jobs.intake import Intake
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.operator import Operator
from darkroom_common.jobs.replica import replica
from darkroom_common.jobs.table import JobTable
from darkroom_common.jobs.tidy import tidy
from darkroom_common.objects.store import open_store
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.migrate import wait_until_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys, decode_key
from darkroom_common.postgres.pool import open_database
from darkroom_common.resources.answers import ResourceAnswers
from darkroom_common.seal import Seal
from darkroom_common.service import Service
from darkroom_common.settings_in_force import tell_settings
from darkroom_common.topology import (
    TRANSMIT_JOBS,
    TRANSMIT_REMOTE,
    TRANSMIT_REQUESTS,
    TRANSMIT_ROUTE,
)
from darkroom_common.transcoding.converters import open_converters
from darkroom_common.transcoding.preparing import ObjectPreparer
from darkroom_transmit.answers import Answers
from darkroom_transmit.availability.notices import Notifier, notice_kind
from darkroom_transmit.commitment.asked import AskedCommitments
from darkroom_transmit.commitment.commitments import LEASES, Commitments
from darkroom_transmit.commitment.door import open_door
from darkroom_transmit.commitment.reporting import Checking, Promises
from darkroom_transmit.commitment.repository import CommitmentJobs
from darkroom_transmit.conformance import stated
from darkroom_transmit.conversion.preparation import ConvertingPreparer
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.echoing import open_rounds
from darkroom_transmit.destinations.from_file import apply_file
from darkroom_transmit.handlers import Handlers
from darkroom_transmit.migration.migrations import Migrations
from darkroom_transmit.migration.opening import Sources
from darkroom_transmit.migration.repository import MigrationJobs
from darkroom_transmit.remote.answers import RemoteAnswers
from darkroom_transmit.remote.procedure_steps import ProcedureSteps
from darkroom_transmit.remote.remotes import Remotes
from darkroom_transmit.retrieval.prefetch import Prefetcher, prefetch_kind
from darkroom_transmit.retrieval.repository import RetrieveJobs
from darkroom_transmit.retrieval.retrievals import Receiver, Retrievals
from darkroom_transmit.routing.router import Router
from darkroom_transmit.sending import following
from darkroom_transmit.sending.delivery import Yard
from darkroom_transmit.sending.lane import destination_lanes, run_lanes
from darkroom_transmit.sending.pool import AssociationPool
from darkroom_transmit.sending.repository import SendJobs
from darkroom_transmit.sending.sender import DimseSender, Sender
from darkroom_transmit.sending.stow import open_stow_sender
from darkroom_transmit.settings import TransmitSettings
from darkroom_transmit.tidy import old_rows

CONVERSION: Final = "darkroom_transmit.conversion.worker"
ROUTE_BATCH: Final = 200
ROUTE_LINGER: Final = 0.2
ASKED_AT_ONCE: Final = 8
REMOTE_AT_ONCE: Final = 16
DOOR_SECONDS: Final = 2.0
_SHARE_OF_DRAIN: Final = 0.6


async def run(service: Service, settings: TransmitSettings) -> None:
    """Keep what is asked for as jobs and send it, until stopped."""
    store = open_store(settings.store_url)
    keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
    tls = settings.tls_client()
    secret = decode_key(settings.pseudonym_key.get_secret_value(), setting="PSEUDONYM_KEY")
    outbox = Outbox("transmit")
    async with (
        open_converters(
            settings.scratch,
            processes=settings.conversion_processes,
            memory=settings.conversion_memory,
            module=CONVERSION,
        ) as converters,
        open_stow_sender(tls) as stow,
        open_database(
            settings.postgres_url.get_secret_value(),
            service="transmit",
            size=settings.database_connections,
        ) as database,
        open_broker(settings.amqp_url.get_secret_value(), service="transmit") as broker,
        AsyncExitStack() as stack,
    ):
        await wait_until_compatible(
            database, schema="transmit", package="darkroom_transmit", stopping=service.stopping
        )
        service.health.add("postgres", database.check)
        service.health.add("rabbitmq", broker.check)
        service.health.add("store", store.check)
        service.health.add("index", lambda: check_index(database))
        seal = Seal(keys)
        configuration = Configuration(database, seal)
        if settings.destinations_file is not None:
            await apply_file(configuration, settings.destinations_file)
        events, requests = (Inbox("transmit", one.name) for one in (TRANSMIT_ROUTE, TRANSMIT_JOBS))
        sends, retrieves, moved = SendJobs(outbox), RetrieveJobs(outbox), MigrationJobs(outbox)
        prefetched, noticed = JobTable(prefetch_kind(), outbox), JobTable(notice_kind(), outbox)
        committed, promised = CommitmentJobs(outbox, sends), AskedCommitments(database, outbox)
        tables = (
            sends.table,
            retrieves.table,
            prefetched,
            noticed,
            promised.table,
            moved.table,
            committed.table,
        )
        named = replica(database, "transmit", tables, host=settings.replica)
        owner, lease = await stack.enter_async_context(named), settings.lease_seconds
        pool = AssociationPool(
            settings.pool_size, settings.pool_idle_seconds, settings.pool_acquire_seconds
        )
        sender = DimseSender(pool, tls)
        threads = stack.enter_context(ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="asked"))
        callers = stack.enter_context(
            ThreadPoolExecutor(REMOTE_AT_ONCE, thread_name_prefix="remote")
        )
        remotes = Remotes(configuration, sender, callers)
        steps = ProcedureSteps(database, seal, remotes)
        retrievals = Retrievals(
            retrieves,
            Claims(retrieves.table, database, owner, lease),
            remotes,
            receiver_of(settings),
        )
        migrations = Migrations(
            moved,
            Claims(moved.table, database, owner, lease),
            Sources(remotes, retrievals.receiver, tls, settings.migration_directory),
            seal,
            Checking(store),
        )
        prefetcher = Prefetcher(
            Claims(prefetched, database, owner, lease), remotes, retrieves, keys
        )
        commitments = Commitments(
            committed,
            Claims(committed.table, database, owner, lease * LEASES),
            configuration,
            sender,
            threads,
            settings.commitment_wait_seconds,
        )
        promises = Promises(
            promised,
            Claims(promised.table, database, owner, lease),
            configuration,
            sender,
            callers,
            Checking(store),
            settings.commitment_settle_seconds,
            settings.commitment_report_seconds,
        )
        senders: dict[str, Sender] = {"dimse": sender, "stow": stow}
        yard = Yard(
            database=database,
            jobs=sends,
            preparer=ConvertingPreparer(ObjectPreparer(store, converters), secret),
            senders=senders,
            owner=owner,
            lease_seconds=lease,
            sent=commitments.sent,
            show_breaker=configuration.show_breaker,
            pool_size=settings.pool_size,
        )
        lanes = destination_lanes(configuration, yard)
        rounds = stack.enter_context(
            open_rounds(configuration, yard, lanes, outbox, settings.echo_seconds)
        )
        router = Router(database, configuration, sends, events, outbox, keys, lanes.wake)
        handlers = Handlers(Intake(database, requests, outbox), sends, retrieves, moved, lanes.wake)

        resources = ResourceAnswers(
            {configuration.destination_table: lanes.reload, configuration.rule_table: lambda: None},
            seal,
        )
        of_sends = Operator(database, sends.table, lanes.acted)
        answers = Answers(
            resources,
            configuration,
            senders,
            router,
            of_sends,
            seal,
            threads,
            rounds,
            database,
            promised,
            following.Followers(database, sends),
        )
        of_retrieves = Operator(
            database, retrieves.table, lambda _, job: retrievals.runner.acted(job)
        )
        asked = RemoteAnswers(
            remotes,
            steps,
            retrievals,
            of_retrieves,
            migrations,
            Operator(database, moved.table, lambda _, job: migrations.runner.acted(job)),
            seal,
        )
        async with service.background(
            tell_settings(service.name, settings, broker, stated(settings)),
            broker.consume(TRANSMIT_JOBS, handlers.accept_job),
            broker.consume_batches(
                TRANSMIT_ROUTE, router.route, size=ROUTE_BATCH, linger=ROUTE_LINGER
            ),
            broker.answer(TRANSMIT_REQUESTS, answers, concurrency=ASKED_AT_ONCE + following.MOST),
            broker.answer(TRANSMIT_REMOTE, asked, concurrency=REMOTE_AT_ONCE),
            run_lanes(lanes, pool),
            rounds.run(),
            commitments.run(),
            promises.runner.run(),
            retrievals.run(),
            migrations.run(),
            prefetcher.runner.run(),
            Notifier(
                Claims(noticed, database, owner, lease), remotes, settings.ae_title, keys
            ).runner.run(),
            tidy(
                database,
                inboxes=(events, requests),
                removals=old_rows(tables[:-1], days=settings.job_retention_days),
            ),
            outbox.run(database, broker),
            JournalRelay(keep_journal(settings.scratch, "transmit"), broker).run(),
        ):
            door = stack.enter_context(_door(settings, commitments))
            await service.run_until_stopped()
            await _leave(service, door)
            # Objects under way are finished, but no peer keeps us from ending.
            asyncio.get_running_loop().call_later(
                settings.drain_seconds * _SHARE_OF_DRAIN, pool.interrupt
            )


@contextmanager
def _door(settings: TransmitSettings, commitments: Commitments) -> Iterator[Door | None]:
    """Listen for reports of storage commitment, where a port is set."""
    if settings.commitment_port is None:
        yield None
        return
    door = open_door(
        settings.commitment_host, settings.commitment_port, commitments.settle_in_thread
    )
    try:
        yield door
    finally:
        door.close(DOOR_SECONDS)


async def _leave(service: Service, door: Door | None) -> None:
    """Where another process has taken over, let who reports here come to an end."""
    if service.is_handed_over and door is not None:
        door.leave()
        await service.until(lambda: door.is_empty)


def receiver_of(settings: TransmitSettings) -> Receiver:
    """Return where ingest listens."""
    return Receiver(
        settings.ingest_dicom_host,
        settings.ingest_dicom_port,
        settings.ae_title,
        settings.ingest_calling_ae_title,
        settings.retrieve_silence_seconds,
        _tls_of_ingest(settings),
        settings.ingest_dicom_name,
    )


def _tls_of_ingest(settings: TransmitSettings) -> TlsClient | None:
    """Return how ingest is called within TLS, with what is shown to other nodes."""
    if not settings.ingest_dicom_tls:
        return None
    ca = settings.ingest_dicom_ca or settings.tls_ca
    return settings.tls_client() if ca is None else settings.tls_client(ca)
