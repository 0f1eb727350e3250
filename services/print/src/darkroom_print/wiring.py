"""How print is put together."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Final

from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.associations.relay import JournalRelay
from darkroom_common.dimse.journal import keep_journal
from darkroom_common.echoes.rounds import AT_ONCE, Rounds
from darkroom_common.index.compatibility import check_index
from darkroom_common.jobs.intake import Intake
from darkroom_common.jobs.operator import Operator
from darkroom_common.jobs.replica import replica
from darkroom_common.jobs.tidy import tidy
from darkroom_common.objects.store import open_store
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.migrate import wait_until_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import open_database
from darkroom_common.resources.answers import ResourceAnswers
from darkroom_common.resources.declared import PRINTERS
from darkroom_common.seal import Seal
from darkroom_common.service import Service
from darkroom_common.settings_in_force import tell_settings
from darkroom_common.topology import PRINT_JOBS, PRINT_REQUESTS, PRINT_RULES
from darkroom_print.answers import Answers
from darkroom_print.composing.composer import open_composers
from darkroom_print.conformance import stated
from darkroom_print.handlers import Handlers
from darkroom_print.printers.asking import Asking
from darkroom_print.printers.configuration import Configuration
from darkroom_print.printing.lane import printer_lanes
from darkroom_print.printing.repository import PrintJobs
from darkroom_print.printing.workshop import ASSOCIATIONS, Workshop
from darkroom_print.settings import PrintSettings
from darkroom_print.tidy import PICTURES, PICTURES_SECONDS, old_jobs

PRINTERS_AT_ONCE: Final = 32
ASKED_AT_ONCE: Final = 4


async def run(service: Service, settings: PrintSettings) -> None:
    """Keep what is asked for as jobs and print it, until stopped."""
    store = open_store(settings.store_url)
    seal = Seal(PhiKeys.parse(settings.phi_keys.get_secret_value()))
    tls = settings.tls_client()
    outbox = Outbox("print")
    async with (
        open_composers(
            settings.scratch,
            processes=settings.composing_processes,
            memory=settings.composing_memory,
        ) as composers,
        open_database(
            settings.postgres_url.get_secret_value(),
            service="print",
            size=settings.database_connections,
        ) as database,
        open_broker(settings.amqp_url.get_secret_value(), service="print") as broker,
        AsyncExitStack() as stack,
    ):
        await wait_until_compatible(
            database, schema="print", package="darkroom_print", stopping=service.stopping
        )
        service.health.add("postgres", database.check)
        service.health.add("rabbitmq", broker.check)
        service.health.add("store", store.check)
        service.health.add("index", lambda: check_index(database))
        threads = stack.enter_context(
            ThreadPoolExecutor(PRINTERS_AT_ONCE, thread_name_prefix="printer")
        )
        configuration = Configuration(database)
        jobs = PrintJobs(outbox)
        owner = await stack.enter_async_context(
            replica(database, "print", (jobs.table,), host=settings.replica)
        )
        shop = Workshop(
            database=database,
            jobs=jobs,
            configuration=configuration,
            composers=composers,
            store=store,
            seal=seal,
            threads=threads,
            tls=tls,
            owner=owner,
            lease_seconds=settings.lease_seconds,
        )
        lanes = printer_lanes(shop)
        asked = stack.enter_context(ThreadPoolExecutor(AT_ONCE, thread_name_prefix="asked"))
        asking = Asking(configuration, tls, asked)
        rounds = Rounds(
            database,
            PRINTERS,
            outbox,
            configuration.printers,
            asking,
            shop.places,
            lambda _: ASSOCIATIONS,
            settings.echo_seconds,
        )
        requests, events = Inbox("print", PRINT_JOBS.name), Inbox("print", PRINT_RULES.name)
        handlers = Handlers(
            Intake(database, requests, outbox), events, jobs, configuration, seal, lanes.wake
        )
        resources = ResourceAnswers(
            {configuration.printer_table: lanes.reload, configuration.rule_table: lambda: None}
        )
        answers = Answers(
            resources, shop, Operator(database, jobs.table, lanes.acted), asking, rounds
        )
        forgotten = old_jobs(jobs, days=settings.job_retention_days)
        await composers.warm(1)  # the others come with the first film that has work for them
        async with service.background(
            tell_settings(service.name, settings, broker, stated(settings)),
            broker.consume(PRINT_JOBS, handlers.accept_job),
            broker.consume(PRINT_RULES, handlers.apply_rules),
            broker.answer(PRINT_REQUESTS, answers, concurrency=ASKED_AT_ONCE),
            lanes.run(),
            rounds.run(),
            tidy(database, inboxes=(requests, events), removals=forgotten),
            tidy(database, removals=(PICTURES,), every_seconds=PICTURES_SECONDS),
            outbox.run(database, broker),
            JournalRelay(keep_journal(settings.scratch, "print"), broker).run(),
        ):
            await service.run_until_stopped()
