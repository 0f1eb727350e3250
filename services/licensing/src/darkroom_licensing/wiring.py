"""How licensing is put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.jobs.tidy import tidy
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.migrate import wait_until_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import open_database
from darkroom_common.service import Service
from darkroom_common.settings_in_force import tell_settings
from darkroom_common.topology import LICENSING_REQUESTS
from darkroom_licensing.checks import OLD_CHECKS, Checks
from darkroom_licensing.document import public_keys
from darkroom_licensing.issuers import FileIssuer, Issuer, OdooIssuer, Reader
from darkroom_licensing.keeping import Kept
from darkroom_licensing.licence import Licence
from darkroom_licensing.odoo.keys import Keys
from darkroom_licensing.odoo.odoo import Odoo
from darkroom_licensing.odoo.protocols import Json2, JsonRpc
from darkroom_licensing.odoo.wire import SECONDS, Wire, tls
from darkroom_licensing.settings import LicensingSettings


@asynccontextmanager
async def open_licence(
    settings: LicensingSettings, *, release: str, clock: Clock = SYSTEM_CLOCK
) -> AsyncIterator[Licence]:
    """Hold the licence for the length of a block, with a client of Odoo if it is to be asked.

    Raises:
        ConfigurationError: a setting cannot be used.
    """
    keys = public_keys(settings.licence_public_keys)
    reader = Reader(keys, settings.licence_installation)
    directory = settings.licence_directory
    async with httpx.AsyncClient(
        verify=tls(settings.odoo_ca, strict=settings.tls_strict),
        timeout=SECONDS,
        trust_env=False,
        proxy=settings.odoo_proxy,
    ) as client:
        issuer: Issuer = FileIssuer(settings.licence_file, directory)
        if settings.odoo_url is not None and settings.odoo_api_key is not None:
            wire = Wire(client, settings.odoo_url)
            database, login = settings.odoo_database, settings.odoo_login
            odoo = Odoo((Json2(wire, database), JsonRpc(wire, database, login)), clock)
            name = f"Darkroom {settings.licence_installation}".strip()
            kept = Kept(directory, "odoo-key.json")
            own = Keys(odoo, settings.odoo_api_key, kept, clock, name)
            issuer = OdooIssuer(own, reader, release, settings.licence_check_seconds)
        remembered = Kept(directory, "licence.json")
        yield Licence(issuer, reader, remembered, clock, settings.working_days)


async def run(service: Service, settings: LicensingSettings) -> None:
    """Look after the licence, until stopped."""
    outbox = Outbox("licensing")
    async with (
        open_database(
            settings.postgres_url.get_secret_value(),
            service="licensing",
            size=settings.database_connections,
        ) as database,
        open_broker(settings.amqp_url.get_secret_value(), service="licensing") as broker,
        open_licence(settings, release=service.health.version) as licence,
    ):
        await wait_until_compatible(
            database, schema="licensing", package="darkroom_licensing", stopping=service.stopping
        )
        service.health.add("postgres", database.check)
        service.health.add("rabbitmq", broker.check)
        service.health.add("odoo", licence.check, needed=False)  # for 72 hours it works without
        inbox = Inbox("licensing", LICENSING_REQUESTS.name)
        checks = Checks(licence, database, inbox, outbox)
        async with service.background(
            tell_settings(service.name, settings, broker),
            checks.run(),
            broker.consume(LICENSING_REQUESTS, checks.handle),
            tidy(database, inboxes=(inbox,), removals=(OLD_CHECKS,)),
            outbox.run(database, broker),
        ):
            await service.run_until_stopped()
