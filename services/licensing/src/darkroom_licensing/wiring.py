"""How licensing is put together."""

from functools import partial

from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.jobs.tidy import tidy
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.migrate import wait_until_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import open_database
from darkroom_common.service import Service
from darkroom_common.topology import LICENSING_REQUESTS
from darkroom_licensing.handlers import OLD_CHECKS, check_licence
from darkroom_licensing.settings import LicensingSettings


async def run(service: Service, settings: LicensingSettings) -> None:
    """Answer questions about the licence, until stopped."""
    outbox = Outbox("licensing")
    async with (
        open_database(settings.postgres_url.get_secret_value(), service="licensing") as database,
        open_broker(settings.amqp_url.get_secret_value(), service="licensing") as broker,
    ):
        await wait_until_compatible(
            database, schema="licensing", package="darkroom_licensing", stopping=service.stopping
        )
        service.health.add("postgres", database.check)
        service.health.add("rabbitmq", broker.check)
        inbox = Inbox("licensing", LICENSING_REQUESTS.name)
        check = partial(check_licence, database=database, inbox=inbox, outbox=outbox)
        async with service.background(
            broker.consume(LICENSING_REQUESTS, check),
            tidy(database, inboxes=(inbox,), removals=(OLD_CHECKS,)),
            outbox.run(database, broker),
        ):
            await service.run_until_stopped()
