"""How transmit is put together."""

from functools import partial

from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.objects.store import open_store
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.migrate import wait_until_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import open_database
from darkroom_common.service import Service
from darkroom_common.topology import TRANSMIT_JOBS, TRANSMIT_ROUTE
from darkroom_transmit.handlers import accept_job, route
from darkroom_transmit.repository import JobRepository
from darkroom_transmit.settings import TransmitSettings


async def run(service: Service, settings: TransmitSettings) -> None:
    """Keep what is asked for as jobs, until stopped."""
    store = open_store(settings.store_url)
    outbox = Outbox("transmit")
    async with (
        open_database(settings.postgres_url.get_secret_value(), service="transmit") as database,
        open_broker(settings.amqp_url.get_secret_value(), service="transmit") as broker,
    ):
        await wait_until_compatible(
            database, schema="transmit", package="darkroom_transmit", stopping=service.stopping
        )
        service.health.add("postgres", database.check)
        service.health.add("rabbitmq", broker.check)
        service.health.add("store", store.check)
        accept = partial(
            accept_job,
            database=database,
            inbox=Inbox("transmit", TRANSMIT_JOBS.name),
            outbox=outbox,
            jobs=JobRepository(),
        )
        async with service.background(
            broker.consume(TRANSMIT_JOBS, accept),
            broker.consume(TRANSMIT_ROUTE, route),
            outbox.run(database, broker),
        ):
            await service.run_until_stopped()
