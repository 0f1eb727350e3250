"""The list of senders by REST, with api and ingest as processes."""

import asyncio

import pytest

from tests.integration.api.conftest import running_api
from tests.integration.ingest.test_senders import CALLING, ae, outcome, until_all
from tests.support.services import Services, declare_index_queue, prepare_database


@pytest.mark.req("ING-05")
async def test_senders_are_changed_while_ingest_runs(services: Services) -> None:
    services.extra |= {"UNKNOWN_AE": "reject", "PROCESSES": "2"}
    async with running_api(services) as api:
        await prepare_database(services.superuser_url, "ingest")
        await declare_index_queue(services.amqp_url)
        await services.start("ingest")
        assert await asyncio.to_thread(outcome, services) == CALLING
        base, given = "/api/v1/senders", {"host_rule": "any", "sop_class_rule": "any"}
        added = await api.client.post(base, json={"name": "SCANNER", **given})
        assert added.status_code == 201, added.text
        await until_all(0, lambda: outcome(services))
        assert (await api.client.post(base, json={"name": "SCANNER", **given})).status_code == 409
        assert (await api.client.post(base, json={"name": "X", "host": "y"})).status_code == 422
        path, etag = f"{base}/SCANNER", added.headers["etag"]
        await ae(services, "set", "SCANNER", "--description", "by the command")
        shown = (await api.client.get(path)).json()
        assert (shown["description"], shown["version"]) == ("by the command", 2)
        refused = await api.client.put(path, json=given, headers={"if-match": etag})
        assert refused.status_code == 412
        hosts = {"host_rule": "listed", "hosts": [{"network": "10.0.0.0/8"}]}
        assert (await api.client.put(path, json=hosts)).status_code == 200
        await until_all(CALLING, lambda: outcome(services))
        text = {"character_set": "\\ISO 2022 IR 87", "character_set_rule": "always"}
        assert (await api.client.put(path, json={**hosts, **text})).status_code == 200
        shown = (await api.client.get(path)).json()
        assert {name: shown[name] for name in text} == text
        assert "ISO 2022 IR 87" in await ae(services, "list")
        wrong = {**hosts, "character_set": "ISO_IR 9999"}
        assert (await api.client.put(path, json=wrong)).status_code == 422
        await ae(services, "set", "SCANNER", "--character-set", "nonsense", code=2)
        await ae(services, "set", "SCANNER", "--character-set", "windows-1251")
        assert (await api.client.get(path)).json()["character_set"] == "windows-1251"
        await ae(services, "set", "SCANNER", "--no-character-set")
        assert (await api.client.get(path)).json()["character_set"] is None
        await ae(services, "add", "A/B*", "--any-host")
        assert (await api.client.get(f"{base}/A%2FB%2A")).json()["name"] == "A/B*"
        listed = (await api.client.get(base)).json()
        assert [one["name"] for one in listed["data"]] == ["A/B*", "SCANNER"]
        assert (await api.client.delete(f"{base}/A%2FB%2A")).status_code == 204
        assert "A/B" not in await ae(services, "list", "--json")
