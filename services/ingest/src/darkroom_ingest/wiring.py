"""How ingest is put together."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final

from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.associations.relay import JournalRelay
from darkroom_common.dimse.journal import keep_journal
from darkroom_common.dimse.tls import TlsServer
from darkroom_common.errors import ConfigurationError, Unhealthy
from darkroom_common.links.inherited import is_held
from darkroom_common.objects.keys import KeyTemplate
from darkroom_common.objects.spool import Spool
from darkroom_common.objects.store import ObjectStore, StoreUnavailable, open_store
from darkroom_common.postgres.phi import decode_key
from darkroom_common.postgres.pool import open_database
from darkroom_common.service import Service, WorkEnded
from darkroom_common.settings_in_force import tell_settings
from darkroom_common.telemetry.host import Host
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_common.topology import INGEST_REQUESTS
from darkroom_ingest.answers import Answers
from darkroom_ingest.conformance.stated import stated
from darkroom_ingest.door.nursery import Nursery
from darkroom_ingest.door.scp import listen_for_dicom
from darkroom_ingest.door.workers import Listeners, Workers
from darkroom_ingest.orders.serving import taking_orders
from darkroom_ingest.quarantine.mirror import Mirror
from darkroom_ingest.relaying.relay import Relay
from darkroom_ingest.senders.refresh import Refresh
from darkroom_ingest.senders.roster import COPY_NAME, RosterCopy
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.workitems.requests import WorkitemRequests
from darkroom_ingest.workitems.tidying import say_going_down, tidy_workitems
from darkroom_ingest.worklist.entries import Entries, open_entries
from darkroom_ingest.worklist.requests import WorklistRequests
from darkroom_ingest.worklist.serving import tell_of_steps

MEASURE_SECONDS = 5.0
LOOK_SECONDS = 3.0
OWN_SECONDS = 0.05
"""How often it is looked whether another process has left the spool."""
CONNECTIONS: Final = 2
"""To PostgreSQL, one of which listens for changes of senders."""
log = get_logger(__name__)


async def run(nursery: Nursery, service: Service, settings: IngestSettings) -> None:
    """Receive until stopped. The broker and the database may be away all the while."""
    spool = Spool(settings.spool, joins=is_held(settings.stow_port))
    store = open_store(settings.store_url)
    pseudonym_key = decode_key(settings.pseudonym_key.get_secret_value(), setting="PSEUDONYM_KEY")
    keys = KeyTemplate.parse(settings.key_template, pseudonym_key=pseudonym_key)
    workers: Workers | None = None

    async def check_spool() -> None:
        if workers is not None and workers.failed:
            raise Unhealthy(workers.failed)
        if spool.free_bytes() < settings.reserve_bytes:
            raise Unhealthy("the reserve of the spool's volume is reached")

    service.health.add("spool", check_spool)
    service.health.add("store", store.check)
    tls = open_tls(service, settings)
    copy = RosterCopy(settings.spool / COPY_NAME)
    postgres_url = settings.postgres_url.get_secret_value()
    async with (
        open_database(postgres_url, service="ingest", size=CONNECTIONS) as database,
        open_broker(settings.amqp_url.get_secret_value(), service="ingest") as broker,
    ):
        senders = Refresh(database, copy, settings.policy)
        service.health.add("senders", senders.check)
        # Receiving works without these two.
        service.health.add("postgres", senders.check_database, needed=False)
        service.health.add("rabbitmq", broker.check, needed=False)
        mirror = Mirror(database, settings, spool.aside)
        entries = open_entries(database, settings)
        answers = Answers(database, mirror, WorklistRequests(entries), WorkitemRequests(entries))
        relay = Relay(spool, store, broker, keys)
        with ExitStack() as listening:
            listener = tls_listener = None
            if settings.dicom_plain:
                listener = await listen_for_dicom(settings.dicom_host, settings.dicom_port)
                listening.enter_context(listener)
            if tls is not None:
                tls_listener = await listen_for_dicom(
                    settings.dicom_host, settings.dicom_tls_port, tls=True
                )
                listening.enter_context(tls_listener)
            stow_listener = await listen_for_dicom(settings.stow_host, settings.stow_port)
            listening.enter_context(stow_listener)
            orders_listener = None
            if settings.hl7_port is not None:
                orders_listener = await listen_for_dicom(settings.hl7_host, settings.hl7_port)
                listening.enter_context(orders_listener)
            listeners = Listeners(listener, tls_listener, stow_listener)
            workers = Workers(settings.processes, nursery, listeners, relay)
            service.health.metrics = workers.metrics
            common.ASSOCIATIONS_LIMIT.set(settings.max_associations)
            service.health.add("workers", workers.check)
            async with service.background(
                tell_settings(service.name, settings, broker, stated(settings)),
                as_owner(
                    spool,
                    service.stopping,
                    relay.run,
                    JournalRelay(keep_journal(settings.spool, "ingest"), broker).run,
                    mirror.run,
                    partial(watch_spool, relay),
                ),
                workers.run(),
                senders.run(),
                broker.answer(INGEST_REQUESTS, answers, concurrency=1),
                tell_of_steps(database, broker),
                tidy_workitems(entries, settings.worklist_days),
                measure_volumes(spool, store),
                watch_certificate(tls),
                *taking_orders(settings, entries, orders_listener, tls),
            ):
                await service.run_until_stopped()
                await end(workers, service, entries)
    nursery.close()
    spool.close()


async def end(workers: Workers, service: Service, entries: Entries | None) -> None:
    """End the processes that receive: when all have gone, where others have taken over."""
    if service.is_handed_over:
        await workers.leave(service.hand_over_seconds, service.told_to_end)
    else:
        await say_going_down(entries)
    await workers.drain(service.drain_seconds)


async def as_owner(
    spool: Spool, stopping: asyncio.Event, *works: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Do, for ever, what only one process of a spool may do at a time, once it is ours.

    Args:
        spool: another process may have it until it ends or hands over.
        stopping: leave it to another from then on. What is under way is broken off: each step of it
            may be done again.
        works: endless ones.
    """
    while not (stopping.is_set() or spool.own()):
        with suppress(TimeoutError):
            async with asyncio.timeout(OWN_SECONDS):
                await stopping.wait()
    tasks = [asyncio.create_task(work()) for work in works]
    told = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({told, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = [task for task in tasks if task.done()]
        for task in (told, *tasks):
            task.cancel()
        await asyncio.gather(told, *tasks, return_exceptions=True)
    for task in ended:
        task.result()
        raise WorkEnded("work on the spool has ended by itself")
    spool.disown()
    log.info("spool.handed_over")
    await asyncio.Event().wait()  # until cancelled: the service is about to end


def open_tls(service: Service, settings: IngestSettings) -> TlsServer | None:
    """Return what TLS needs, or None without TLS.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    if settings.tls is None:
        return None
    tls = TlsServer(settings.tls)
    if tls.context is None:
        raise ConfigurationError(f"DICOM_TLS: {tls.trouble}")

    service.health.add("dicom-tls", tls.check, needed=False)  # the plain port works without
    return tls


async def watch_certificate(tls: TlsServer | None) -> None:
    """Tell when the certificate expires and whether a changed one is good, for ever."""
    while True:
        if tls is not None:
            if tls.look():
                common.CERTIFICATE_REFUSED.labels("dicom-tls").inc()
            if tls.expires is not None:
                common.CERTIFICATE_EXPIRES.labels("dicom-tls").set(tls.expires.timestamp())
        await asyncio.sleep(MEASURE_SECONDS)


async def watch_spool(relay: Relay) -> None:
    """Have the relay see what an operator has released from quarantine, for ever."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        relay.look()


async def measure_volumes(spool: Spool, store: ObjectStore) -> None:
    """Keep the metrics of the volumes and of the host fresh, for ever."""
    host = Host()
    while True:
        host.look()
        metrics.STORAGE_FREE.labels("spool").set(spool.free_bytes())
        metrics.STORAGE_TOTAL.labels("spool").set(spool.total_bytes())
        aside = await asyncio.to_thread(spool.aside.usage)
        metrics.QUARANTINE_ITEMS.set(aside.items)
        metrics.QUARANTINE_BYTES.set(aside.bytes)
        with suppress(StoreUnavailable):  # the health check says so
            if (space := await store.space()) is not None:
                metrics.STORAGE_FREE.labels("store").set(space.free)
                metrics.STORAGE_TOTAL.labels("store").set(space.total)
        await asyncio.sleep(MEASURE_SECONDS)
