"""How transmit is put together."""

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.index.compatibility import check_index
from darkroom_common.objects.store import open_store
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.migrate import wait_until_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys, decode_key
from darkroom_common.postgres.pool import open_database
from darkroom_common.seal import Seal
from darkroom_common.service import Service
from darkroom_common.topology import (
    TRANSMIT_JOBS,
    TRANSMIT_REMOTE,
    TRANSMIT_REQUESTS,
    TRANSMIT_ROUTE,
)
from darkroom_transmit.answers import Answers
from darkroom_transmit.commitment.commitments import Commitments
from darkroom_transmit.commitment.door import open_door
from darkroom_transmit.conversion.converters import open_converters
from darkroom_transmit.conversion.preparation import ConvertingPreparer
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.from_file import apply_file
from darkroom_transmit.handlers import accept_job
from darkroom_transmit.remote.answers import RemoteAnswers
from darkroom_transmit.remote.procedure_steps import ProcedureSteps
from darkroom_transmit.remote.remotes import Remotes
from darkroom_transmit.retrieval.prefetch import Prefetcher
from darkroom_transmit.retrieval.repository import RetrieveRepository
from darkroom_transmit.retrieval.retrievals import Receiver, Retrievals
from darkroom_transmit.routing.router import Router
from darkroom_transmit.sending.dispatcher import Dispatcher
from darkroom_transmit.sending.lane import Yard
from darkroom_transmit.sending.pool import AssociationPool
from darkroom_transmit.sending.repository import JobRepository
from darkroom_transmit.sending.sender import DimseSender
from darkroom_transmit.sending.stow import open_stow_sender
from darkroom_transmit.settings import TransmitSettings
from darkroom_transmit.tidy import tidy

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
    tls = TlsClient(settings.dicom_tls_ca, settings.dicom_tls_certificate, settings.dicom_tls_key)
    secret = decode_key(settings.pseudonym_key.get_secret_value(), setting="PSEUDONYM_KEY")
    outbox = Outbox("transmit")
    async with (
        AsyncExitStack() as stack,
        open_converters(
            settings.scratch,
            processes=settings.conversion_processes,
            memory=settings.conversion_memory,
        ) as converters,
        open_stow_sender(tls) as stow,
        open_database(
            settings.postgres_url.get_secret_value(),
            service="transmit",
            size=settings.database_connections,
        ) as database,
        open_broker(settings.amqp_url.get_secret_value(), service="transmit") as broker,
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
        await configuration.renew_secrets()
        if settings.destinations_file is not None:
            await apply_file(configuration, settings.destinations_file)
        events = Inbox("transmit", TRANSMIT_ROUTE.name)
        requests = Inbox("transmit", TRANSMIT_JOBS.name)
        jobs = JobRepository(outbox)
        pool = AssociationPool(
            idle_seconds=settings.pool_idle_seconds, acquire_seconds=settings.pool_acquire_seconds
        )
        sender = DimseSender(pool, tls)
        threads = stack.enter_context(ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="asked"))
        callers = stack.enter_context(
            ThreadPoolExecutor(REMOTE_AT_ONCE, thread_name_prefix="remote")
        )
        remotes = Remotes(configuration, sender, callers)
        steps = ProcedureSteps(database, seal, remotes)
        await steps.renew()
        retrievals = Retrievals(
            RetrieveRepository(database),
            remotes,
            Receiver(
                settings.ingest_dicom_host,
                settings.ingest_dicom_port,
                settings.ae_title,
                settings.ingest_calling_ae_title,
                settings.retrieve_silence_seconds,
            ),
            owner=uuid.uuid4().hex,
            lease_seconds=settings.lease_seconds,
        )
        commitments = Commitments(
            database, configuration, outbox, sender, threads, settings.commitment_wait_seconds
        )
        yard = Yard(
            database=database,
            jobs=jobs,
            outbox=outbox,
            preparer=ConvertingPreparer(store, converters, secret),
            senders={"dimse": sender, "stow": stow},
            owner=uuid.uuid4().hex,
            lease_seconds=settings.lease_seconds,
            sent=commitments.sent,
            show_breaker=configuration.show_breaker,
        )
        dispatcher = Dispatcher(configuration, yard, pool)
        router = Router(database, configuration, jobs, events, outbox, keys, dispatcher.wake)
        accept = partial(
            accept_job,
            database=database,
            inbox=requests,
            outbox=outbox,
            jobs=jobs,
            wake=dispatcher.wake,
        )
        answers = Answers(configuration, dispatcher, router, jobs, database, outbox, seal, threads)
        prefetcher = Prefetcher(
            database, remotes, RetrieveRepository(database), keys, retrievals.wake
        )
        asked = RemoteAnswers(remotes, steps, retrievals, seal)
        async with service.background(
            broker.consume(TRANSMIT_JOBS, accept),
            broker.consume_batches(
                TRANSMIT_ROUTE, router.route, size=ROUTE_BATCH, linger=ROUTE_LINGER
            ),
            broker.answer(TRANSMIT_REQUESTS, answers, concurrency=ASKED_AT_ONCE),
            broker.answer(TRANSMIT_REMOTE, asked, concurrency=REMOTE_AT_ONCE),
            dispatcher.run(),
            dispatcher.sweep(),
            commitments.run(),
            retrievals.run(),
            prefetcher.run(),
            tidy(database, (events, requests), job_days=settings.job_retention_days),
            outbox.run(database, broker),
        ):
            if settings.commitment_port is not None:
                door = open_door(
                    settings.commitment_host, settings.commitment_port, commitments.settle_in_thread
                )
                stack.callback(door.close, DOOR_SECONDS)
            await service.run_until_stopped()
            # Objects under way are finished, but no peer keeps us from ending.
            asyncio.get_running_loop().call_later(
                settings.drain_seconds * _SHARE_OF_DRAIN, pool.interrupt
            )
