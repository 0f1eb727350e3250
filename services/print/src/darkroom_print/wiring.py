"""How print is put together."""

from functools import partial

from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.objects.store import open_store
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.migrate import wait_until_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import open_database
from darkroom_common.service import Service
from darkroom_common.topology import PRINT_JOBS
from darkroom_print.handlers import accept_job
from darkroom_print.repository import JobRepository
from darkroom_print.settings import PrintSettings


async def run(service: Service, settings: PrintSettings) -> None:
    """Keep what is asked for as jobs, until stopped."""
    store = open_store(settings.store_url)
    outbox = Outbox("print")
    async with (
        open_database(settings.postgres_url.get_secret_value(), service="print") as database,
        open_broker(settings.amqp_url.get_secret_value(), service="print") as broker,
    ):
        await wait_until_compatible(
            database, schema="print", package="darkroom_print", stopping=service.stopping
        )
        service.health.add("postgres", database.check)
        service.health.add("rabbitmq", broker.check)
        service.health.add("store", store.check)
        accept = partial(
            accept_job,
            database=database,
            inbox=Inbox("print", PRINT_JOBS.name),
            outbox=outbox,
            jobs=JobRepository(),
        )
        async with service.background(
            broker.consume(PRINT_JOBS, accept), outbox.run(database, broker)
        ):
            await service.run_until_stopped()
