"""Senders in the console: listed, added and removed by whoever may."""

from tests.integration.api.conftest import running_api
from tests.integration.console.desk import sitting
from tests.support.services import Services

_CT = {"name": "CT_1", "network": "10.1.2.0/24", "query_rule": "own", "retrieve_rule": "any"}


async def test_a_sender_is_added_and_removed(services: Services) -> None:
    async with running_api(services) as api:
        await services.start("ingest")
        people = await sitting(api)
        admin, technician = people["medical_admin"], people["technician"]
        before = await admin.page("/senders")
        assert "CT_1" not in before
        assert "may send now" in await admin.press("/senders", _CT)
        await admin.press("/senders", _CT, 409)
        await admin.press("/senders", {**_CT, "name": "CT_2", "network": "over there"}, 422)
        said = await admin.words("/senders")
        assert "CT_1 10.1.2.0/24 everything its own studies all studies any number" in said
        await technician.page("/senders", 403)
        await technician.press("/senders", _CT, 403)
        assert 'href="/senders"' not in await technician.page("/worklist")
        await admin.press("/senders/remove", {"name": "CT_1"})
        assert "CT_1" not in await admin.page("/senders")
