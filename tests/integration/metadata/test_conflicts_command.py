"""`darkroom conflicts` as an operator uses it, beside a metadata that does the work."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.metadata.resolving import House, house
from tests.integration.metadata.test_indexer import KEY
from tests.integration.metadata.test_reindex import BLIND_KEY
from tests.support.builders import a_data_set
from tests.support.commands import run_command


@pytest.fixture
async def desk(superuser_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with house(superuser_url, tmp_path) as made:
        first = a_data_set(InstanceNumber=1)
        given = {
            name: getattr(first, name)
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        }
        await made.received(first, a_data_set(**given, InstanceNumber=2))
        del given["SOPInstanceUID"]
        await made.received(*(a_data_set(**given, PatientID="OTHER") for _ in range(2)))
        running = asyncio.create_task(made.resolver.runner.run())
        yield made
        running.cancel()
        await asyncio.wait({running})


async def command(desk: House, *arguments: str) -> tuple[int, str]:
    """Run the command while metadata works; return its exit code and what it says."""
    environment = {
        "USER": "olga",
        "DARKROOM_POSTGRES_URL": desk.bench.prepared.url("metadata"),
        "DARKROOM_AMQP_URL": "amqp://nobody@127.0.0.1:1/",
        "DARKROOM_STORE_URL": desk.bench.directory.as_uri(),
        "DARKROOM_PHI_KEYS": json.dumps({"current": 1, "keys": {"1": KEY}}),
        "DARKROOM_BLIND_INDEX_KEY": BLIND_KEY,
    }
    code, said, errors = await run_command(
        "metadata", "conflicts", *arguments, environment=environment
    )
    return code, said + errors


async def listed(desk: House, *arguments: str) -> list[dict[str, Any]]:
    code, output = await command(desk, "list", "--json", *arguments)
    assert code == 0, output
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


@pytest.mark.req("MET-06", "STO-03")
async def test_list_show_fetch_and_decide(desk: House, tmp_path: Path) -> None:
    found = {one["kind"]: one["conflict_id"] for one in await listed(desk)}
    assert set(found) == {"instance", "patient"}
    number = found["patient"]
    code, output = await command(desk, "show", number)
    assert (code, "PatientID" in output, "OTHER" in output) == (0, True, False)
    code, output = await command(desk, "show", number, "--phi")
    assert (code, "OTHER" in output) == (0, True)

    target = tmp_path / "other.dcm"
    assert (await command(desk, "fetch", found["instance"], str(target)))[0] == 0
    (conflict,) = await desk.conflicts("kind = 'instance'")
    stored = (desk.bench.directory / conflict["object_key"]).read_bytes()
    assert target.read_bytes() == stored
    assert (await command(desk, "fetch", found["instance"], str(target)))[0] == 2

    code, output = await command(desk, "promote", found["instance"])
    assert (code, output.strip().endswith("1 instances")) == (0, True)
    code, output = await command(desk, "merge", number, "--reason", "typed wrongly")
    assert (code, output.strip().endswith("2 instances")) == (0, True)
    code, output = await command(desk, "merge", number)
    assert (code, "merged" in output) == (1, True)
    await desk.require_agreement()
    assert await listed(desk) == []
    assert len(await listed(desk, "--state", "any")) == 4  # two originals are kept
    changes = await desk.bench.prepared.fetch("SELECT by, action, name FROM index.change")
    assert {row["action"] for row in changes} == {"promote", "merge"}
    assert {row["by"] for row in changes} == {"cli:olga"}


async def test_what_cannot_be_asked_for(desk: House) -> None:
    (number,) = [one["conflict_id"] for one in await listed(desk, "--kind", "patient")]
    assert (await command(desk, "discard", number))[0] == 2  # it wants a reason
    assert (await command(desk, "move", number))[0] == 2
    code, output = await command(desk, "move", number, "--patient-id", "NOBODY")
    assert (code, "knows no such patient" in output) == (1, True)
    assert "NOBODY" not in output
    for words in (["show", "999"], ["merge", "999"], ["keep", number, "--reason", "a\tb"]):
        code, output = await command(desk, *words)
        assert code == 2, output
        assert "Traceback" not in output
    assert len(await listed(desk)) == 2
