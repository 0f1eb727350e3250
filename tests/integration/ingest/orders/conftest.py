from collections.abc import AsyncIterator

import pytest

from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key
from darkroom_common.postgres.pool import open_database
from darkroom_common.seal import Seal
from darkroom_ingest.orders.orders import Orders
from darkroom_ingest.senders.repository import SCHEMA
from darkroom_ingest.worklist.entries import Entries
from tests.integration.ingest.orders.house import House
from tests.support.services import Services, prepare_database, role_url


@pytest.fixture
async def house(services: Services) -> AsyncIterator[House]:
    await prepare_database(services.superuser_url, "ingest")
    keys = PhiKeys.parse(services.secrets["PHI_KEYS"])
    blind = BlindIndex(decode_key(services.secrets["BLIND_INDEX_KEY"], setting="BLIND_INDEX_KEY"))
    url = role_url(services.superuser_url, "darkroom_ingest")
    async with open_database(url, service="test", size=2) as database:
        async with database.acquire() as db:
            for table in ("worklist", "taken", "outbox"):
                await db.execute(f"DELETE FROM ingest.{table}")
        entries = Entries(database, Seal(keys), blind)
        yield House(database, entries, Orders(database, entries, Outbox(SCHEMA)))
