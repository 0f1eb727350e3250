"""What a later version has stored, read by this one: by transmit, and by REST."""

import json

import pytest

from darkroom_local.engines.ports import free_port
from tests.integration.transmit.desk import Desk
from tests.integration.transmit.test_rest import Both, a_destination, both
from tests.support.scripted_peer import Script, ScriptedPeer

__all__ = ["both"]
LATER = """
UPDATE transmit.destination SET
    spec = jsonb_set(spec, '{tls,later}', '1') || '{"later": {"deep": 1}}', version = version + 1
"""
WORD = """
INSERT INTO transmit.destination (name, spec) SELECT 'LATER', spec || '{"kind": "carrier-pigeon"}'
FROM transmit.destination WHERE name = 'PACS'
"""
RULE = """
INSERT INTO transmit.rule (name, position, spec)
VALUES ('later', 1, '{"destinations": ["PACS"], "when": "at-noon"}')
"""


@pytest.mark.req("TRX-01", "TRX-08")
async def test_later_fields_and_words_stop_no_lane_and_hide_nothing(both: Both) -> None:
    desk: Desk = both.desk
    with ScriptedPeer(Script()) as peer:
        await both.call("PUT", "/destinations/PACS", 201, json=a_destination(peer.port))
        rule = {"destinations": ["PACS"]}
        await both.call("PUT", "/rules/all", 201, json=rule)
        for statement in (LATER, WORD, RULE):
            await desk.prepared.fetch(statement)
        waiting = await desk.send("LATER", await desk.study(1))
        await desk.until(await desk.send("PACS", await desk.study(2)), "SENT")
        assert (await desk.until(waiting, "PENDING"))["attempts"] == 0
    (line, *_) = desk.logged("resource.unreadable")
    assert (line["kind"], line["name"], line["fields"]) == ("destination", "LATER", ["kind"])
    assert desk.logged("lane.failed") == []
    listed = (await both.call("GET", "/destinations", 200))["data"]
    assert [(one["name"], one["kind"], one["unreadable"]) for one in listed] == [
        ("LATER", "carrier-pigeon", ["kind"]),
        ("PACS", "dimse", []),
    ]
    assert (await both.call("GET", "/rules/later", 200))["unreadable"] == ["when"]
    assert len((await both.call("GET", "/rules", 200))["data"]) == 2
    await both.call("POST", "/destinations/LATER/echo", 422)
    await both.call("PUT", "/destinations/LATER", 200, json=a_destination(free_port()))
    assert (await both.call("GET", "/destinations/LATER", 200))["unreadable"] == []


@pytest.mark.req("TRX-01")
async def test_a_change_names_the_version_that_it_knows(both: Both) -> None:
    client, path = both.api.client, "/api/v1/destinations/PACS"
    spec = a_destination(free_port())
    first = await client.put(path, json=spec)
    etag = first.headers["etag"]
    assert (await client.get(path)).headers["etag"] == etag
    assert (await client.get(path, headers={"if-none-match": etag})).status_code == 304
    second = await client.put(path, json=spec, headers={"if-match": etag})
    assert (second.status_code, second.json()["version"]) == (200, 2)
    stale = await client.put(path, json=spec, headers={"if-match": etag})
    assert (stale.status_code, stale.json()["name"]) == (412, "CHANGED_MEANWHILE")
    assert (await client.delete(path, headers={"if-match": etag})).status_code == 412
    assert (await client.get(path, headers={"if-none-match": etag})).status_code == 200
    numbered = await client.put(path, json=spec, headers={"if-match": '"2"'})
    assert (numbered.status_code, numbered.json()["version"]) == (200, 3)
    row = await both.desk.prepared.fetch("SELECT spec::text FROM transmit.destination")
    assert json.loads(row[0]["spec"])["port"] == spec["port"]
    assert (await client.delete(path, headers={"if-match": "*"})).status_code == 204
    assert (await client.put(path, json=spec, headers={"if-match": "*"})).status_code == 412
    another = await client.put(path, json=spec)
    assert (another.status_code, another.json()["version"]) == (201, 1)
    assert (await client.put(path, json=spec, headers={"if-match": etag})).status_code == 412
