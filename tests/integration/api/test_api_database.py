"""What an operator sees of PostgreSQL, by the role of the api."""

import json
from typing import Any

import asyncpg
import pytest

from darkroom_api.desk.database import NotShown, database
from darkroom_api.settings import ApiSettings
from tests.integration.api.conftest import Api


@pytest.mark.req("OBS-09")
async def test_slow_statements_sizes_and_connections_are_shown(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in api.services.running["api"].environment.items():
        monkeypatch.setenv(name, value)
    settings = ApiSettings.load()

    async def shown(*words: str) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert await database(settings, [*words, "--json"]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    largest = await shown("tables", "--limit", "500")
    assert [one["bytes"] for one in largest] == sorted((o["bytes"] for o in largest), reverse=True)
    assert {"api.session", "index.study", "transmit.job"} <= {one["table"] for one in largest}

    busy = await asyncpg.connect(api.services.superuser_url)
    try:
        async with busy.transaction():
            await busy.execute("SELECT 1")
            counted = await shown("connections")
            states = {(one["role"], one["state"]) for one in counted}
            assert any(state == "idle in transaction" for _, state in states)
            assert "darkroom_api" in {role for role, _ in states}
        await busy.execute("CREATE ROLE planted_role PASSWORD 'planted-secret'")
        await busy.execute("SELECT pg_sleep(0.15)")
        try:
            slow = await shown("slow", "--limit", "1000")
        except NotShown:  # a server without the library
            slow = []
        else:
            assert any("pg_sleep" in one["statement"] for one in slow)
        assert "planted-secret" not in json.dumps(slow)
        assert await shown("slow", "--now") == []
        capsys.readouterr()
        assert await database(settings, ["connections"]) == 0
        assert "connections" in capsys.readouterr().out
    finally:
        await busy.execute("DROP ROLE IF EXISTS planted_role")
        await busy.close()
