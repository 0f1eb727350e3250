"""How metadata is put together."""

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.errors import ConfigurationError
from darkroom_common.jobs.attempt import Attempt
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.replica import replica
from darkroom_common.jobs.table import JobTable
from darkroom_common.jobs.tidy import tidy
from darkroom_common.objects.store import ObjectStore
from darkroom_common.objects.tiered import TieredStore, is_charged
from darkroom_common.postgres.migrate import wait_until_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import open_database
from darkroom_common.seal import Seal
from darkroom_common.service import Service
from darkroom_common.settings_in_force import tell_settings
from darkroom_common.specs.retention import Retention
from darkroom_common.topology import (
    METADATA_CONFLICTS,
    METADATA_EDITS,
    METADATA_INDEX,
    METADATA_ORDERS,
    METADATA_REMOVALS,
    METADATA_REQUESTS,
    METADATA_STUDIES,
)
from darkroom_metadata.answers import Answers
from darkroom_metadata.asked import AskedJobs
from darkroom_metadata.conflicts.intake import Decisions
from darkroom_metadata.conflicts.objects import Desk
from darkroom_metadata.conflicts.repository import Resolutions
from darkroom_metadata.conflicts.resolving import Resolver
from darkroom_metadata.conflicts.upkeep import Upkeep
from darkroom_metadata.editing.editor import Editor
from darkroom_metadata.editing.intake import EditCommands
from darkroom_metadata.editing.repository import Edits
from darkroom_metadata.indexing.indexer import Indexer
from darkroom_metadata.indexing.reading import open_reading
from darkroom_metadata.indexing.repository import IndexRepository
from darkroom_metadata.indexing.rows import RowWriter
from darkroom_metadata.removal.intake import RemovalCommands
from darkroom_metadata.removal.removing import Remover
from darkroom_metadata.removal.repository import Removals
from darkroom_metadata.replication.replicating import Replicating
from darkroom_metadata.retention.judging import Judging
from darkroom_metadata.retention.pace import Turns
from darkroom_metadata.retention.runs import Runs, retention_jobs
from darkroom_metadata.settings import MetadataSettings
from darkroom_metadata.studies.changes import Studies
from darkroom_metadata.studies.infix import InfixRuns
from darkroom_metadata.studies.lifecycle import Lifecycle
from darkroom_metadata.studies.orders import StudyOrders
from darkroom_metadata.tagging.tagging import Tagging, tag_jobs
from darkroom_metadata.tagging.writer import TagWriter
from darkroom_metadata.tiering.jobs import Tiering, TierJobs
from darkroom_metadata.tiering.moving import Mover
from darkroom_metadata.verification.judgement import Pace
from darkroom_metadata.verification.ledger import Ledger
from darkroom_metadata.verification.reconciler import Objects
from darkroom_metadata.verification.repairing import Repairs
from darkroom_metadata.verification.replica import Replica
from darkroom_metadata.verification.schedule import Planned, Schedule
from darkroom_metadata.verification.verification import Brake, Contents, Rows, Step


async def run(service: Service, settings: MetadataSettings) -> None:
    """Index what is stored, until stopped."""
    keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
    outbox = Outbox("index")
    async with (
        open_reading(settings) as reading,
        open_database(
            settings.postgres_url.get_secret_value(),
            service="metadata",
            size=settings.database_connections,
        ) as database,
        open_broker(settings.amqp_url.get_secret_value(), service="metadata") as broker,
        AsyncExitStack() as stack,
    ):
        await wait_until_compatible(
            database, schema="index", package="darkroom_metadata", stopping=service.stopping
        )
        store = reading.store
        service.health.add("postgres", database.check)
        service.health.add("rabbitmq", broker.check)
        service.health.add("store", store.check)
        tag_writer = TagWriter(keys, reading.blind)
        indexer = Indexer(
            database,
            reading,
            IndexRepository(RowWriter(keys), tag_writer),
            outbox,
            settings.batch_size,
        )
        lifecycle = Lifecycle(database, outbox, timedelta(seconds=settings.quiet_seconds))
        replicating = Replicating.of(settings, database, store, outbox)
        schedule = _schedule(settings, indexer, replicating)
        resolutions, edits, removals = Resolutions(outbox), Edits(outbox), Removals(outbox)
        tags, nights, tiers = tag_jobs(outbox), retention_jobs(outbox), TierJobs(outbox)
        asked: tuple[AskedJobs, ...] = (resolutions, edits, removals)
        tables: tuple[JobTable[Any], ...] = (
            *(jobs.table for jobs in asked),
            *(tags, nights, tiers.table),
        )
        named = replica(database, "index", tables, host=settings.replica)
        owner = await stack.enter_async_context(named)
        lease = settings.lease_seconds
        resolver = _resolver(
            settings, indexer, keys, Claims(resolutions.table, database, owner, lease)
        )
        editor = Editor(
            Claims(edits.table, database, owner, lease), resolver.desk, keys, Seal(keys), outbox
        )
        remover = Remover(
            Claims(removals.table, database, owner, lease),
            store,
            outbox,
            settings.retention,
            timedelta(days=settings.purge_days),
            keys,
            Turns("mark", settings.purge_per_minute),
            Turns("purge", settings.purge_per_minute),
        )
        runs = Runs(
            Claims(nights, database, owner, lease),
            Judging(keys, settings.retention),
            remover,
            settings.retention_purge,
            settings.retention_hour,
            lambda: indexer.behind,
        )
        tiering = _tiering(
            settings, tiers, Claims(tiers.table, database, owner, lease), store, keys
        )
        studies, removal_commands = (
            Studies(database, outbox, remover.told_to_delete),
            RemovalCommands(remover, removals, tiers),
        )
        tagging = Tagging(Claims(tags, database, owner, lease), tag_writer)
        upkeep = Upkeep(database, store, resolver.desk, keys)
        commands, edit_commands = Decisions(resolver, resolutions), EditCommands(editor, edits)
        inboxes = (indexer.inbox, commands.inbox, edit_commands.inbox, removal_commands.inbox)
        async with service.background(
            tell_settings(service.name, settings, broker),
            broker.consume_batches(
                METADATA_INDEX, indexer.index, size=METADATA_INDEX.prefetch, linger=0
            ),
            broker.consume(METADATA_STUDIES, studies.handle),
            broker.consume(METADATA_ORDERS, StudyOrders(database).handle),
            broker.consume(METADATA_CONFLICTS, commands.handle),
            broker.consume(METADATA_EDITS, edit_commands.handle),
            resolver.runner.run(),
            editor.runner.run(),
            broker.consume(METADATA_REMOVALS, removal_commands.handle),
            remover.runner.run(),
            remover.run(),
            runs.runner.run(),
            runs.run(),
            tiering.runner.run(),
            tiering.run(),
            upkeep.run(),
            broker.answer(METADATA_REQUESTS, Answers(database, tagging), concurrency=1),
            tagging.runner.run(),
            tagging.run(),
            outbox.run(database, broker),
            lifecycle.run(),
            InfixRuns(database, keys, reading.blind).run(),
            tidy(database, inboxes=inboxes),
            schedule.run(),
            replicating.run(),
        ):
            await service.run_until_stopped()


def _tiering(
    settings: MetadataSettings,
    tiers: TierJobs,
    claims: Claims[Attempt],
    store: ObjectStore,
    keys: PhiKeys,
) -> Tiering:
    """Put together what moves and recalls studies, where there are two stores.

    Raises:
        ConfigurationError: there are rules, and one store.
    """
    if settings.tier_rules and not isinstance(store, TieredStore):
        raise ConfigurationError("TIER_RULES needs a second store in STORE_URL")
    return Tiering(
        claims,
        tiers,
        Mover(store) if isinstance(store, TieredStore) else None,
        keys,
        Retention(0, settings.tier_rules),
        timedelta(days=settings.tier_recall_days),
        Brake(Pace(settings.tier_bytes_per_second)).spend,
        settings.retention_hour,
    )


def _resolver(
    settings: MetadataSettings, indexer: Indexer, keys: PhiKeys, claims: Claims[Attempt]
) -> Resolver:
    """Put together what carries out decisions about conflicts."""
    return Resolver(
        claims,
        Desk(indexer.database, indexer.reading),
        keys,
        Seal(keys),
        indexer.outbox,
        timedelta(days=settings.discarded_days),
    )


def _schedule(settings: MetadataSettings, indexer: Indexer, replicating: Replicating) -> Schedule:
    """Plan what verification does by itself; an interval of 0 leaves its checks out."""
    store, ledger = indexer.reading.store, Ledger(indexer.outbox)
    brake = Brake(Pace(settings.verify_bytes_per_second))
    planned: list[Planned] = []
    if settings.verify_consistency_hours:
        every = timedelta(hours=settings.verify_consistency_hours)
        grace = timedelta(seconds=settings.verify_grace_seconds)
        planned += [
            Planned(Rows(store, ledger, brake), every, every),
            Planned(
                Objects(store, ledger, brake, grace, repair=settings.verify_repair), every, every
            ),
        ]
    reading: list[tuple[Step, float]] = [
        (Contents.of(store, ledger, brake), settings.verify_interval_days)
    ]
    if isinstance(store, TieredStore):
        days = settings.verify_slow_days
        if is_charged(settings.store_url):
            days = settings.verify_archive_days
        reading.append((Contents.of_slow(store, ledger, brake), days))
    if replicating.second is not None:
        reading.append((Replica(replicating.second, ledger, brake), settings.verify_replica_days))
    # Each day what has become due since: one run a day, not one for every object.
    planned += [
        Planned(step, min(timedelta(days=days), timedelta(days=1)), timedelta(days=days))
        for step, days in reading
        if days
    ]
    repairs = None
    if replicating.copies:
        repairs = Repairs(store, replicating.second, replicating.copies, ledger, brake)
    return Schedule(indexer.database, ledger, planned, lambda: indexer.behind, repairs=repairs)
