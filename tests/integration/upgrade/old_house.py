"""The data of the commit before the one house, set down for one test as if that had just stopped.

What is imported of Darkroom here and in the test is little: what the test is about moves.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aio_pika
import asyncpg
import httpx

from darkroom_common.postgres.bootstrap import ROLES, bootstrap
from tests.support.services import ROLE_PASSWORD, Services, prepare_database

FIXTURE: Final = Path(__file__).parents[2] / "fixtures" / "before_one_house"
STOPPED_FOR: Final = timedelta(minutes=10)
"""How long the old stack seems to have been down: longer than every lease and every wait."""
_SERVICES: Final = ("ingest", "metadata", "transmit", "print", "api", "licensing")
_DESTINATION_PORT: Final = (
    "UPDATE transmit.destination SET spec = CASE spec->>'kind'"
    " WHEN 'dimse' THEN jsonb_set(spec, '{port}', to_jsonb($2::integer))"
    " ELSE jsonb_set(spec, '{url}', to_jsonb(format('http://127.0.0.1:%s/dicom-web', $2))) END"
    " WHERE name = $1"
)
_PRINTER_PORT: Final = (
    "UPDATE print.printer SET spec = jsonb_set(spec, '{port}', to_jsonb($2::integer))"
    " WHERE name = $1"
)
_TIMES: Final = (
    "SELECT format('%I.%I', c.table_schema, c.table_name) AS name,"
    " string_agg(format('%1$I = %1$I + $1::interval', c.column_name), ', ') AS changes"
    " FROM information_schema.columns c JOIN information_schema.tables t"
    " USING (table_schema, table_name)"
    " WHERE c.data_type = 'timestamp with time zone' AND t.table_type = 'BASE TABLE'"
    " AND c.table_schema IN ('ingest', 'index', 'transmit', 'print', 'api', 'licensing')"
    " GROUP BY 1"
)


def read(name: str) -> Any:
    """Return one of the fixture's JSON files."""
    return json.loads((FIXTURE / name).read_text())


@dataclass
class OldHouse:
    """The fixture, and the services that are to go on with it."""

    services: Services
    scenario: dict[str, Any] = field(default_factory=lambda: read("scenario.json"))
    keys: dict[str, Any] = field(default_factory=lambda: read("keys.json"))
    broker: dict[str, Any] = field(default_factory=lambda: read("messages.json"))
    headers: dict[str, str] = field(default_factory=dict)

    async def set_down(self, ports: dict[str, int]) -> None:
        """Restore files, database and queues; `ports` of the peers are those of the test."""
        for name in ("objects", "spool"):
            shutil.copytree(FIXTURE / name, self.services.directory / name)
        self.services.secrets |= self.keys["settings"]
        await self._restore(ports)
        await prepare_database(self.services.superuser_url, *_SERVICES)
        await self._fill_queues()

    async def _restore(self, ports: dict[str, int]) -> None:
        url = self.services.superuser_url
        await bootstrap(url, dict.fromkeys(ROLES, ROLE_PASSWORD))
        restoring = await asyncpg.connect(url)
        try:
            await restoring.execute((FIXTURE / "database.sql").read_text())
        finally:
            await restoring.close()
        connection = await asyncpg.connect(url)
        made_at = datetime.fromisoformat(self.scenario["made_at"])
        later = datetime.now(UTC) - made_at - STOPPED_FOR
        try:
            for table in await connection.fetch(_TIMES):
                await connection.execute(f"UPDATE {table['name']} SET {table['changes']}", later)
            for name, port in ports.items():
                for statement in (_DESTINATION_PORT, _PRINTER_PORT):
                    await connection.execute(statement, name, port)
        finally:
            await connection.close()

    async def _fill_queues(self) -> None:
        """Declare what the old services had declared, and have wait what waited."""
        async with await aio_pika.connect(self.services.amqp_url) as connection:
            channel = await connection.channel()
            for name, kind in self.broker["exchanges"].items():
                await channel.declare_exchange(name, aio_pika.ExchangeType(kind), durable=True)
            for name, told in self.broker["queues"].items():
                queue = await channel.declare_queue(name, durable=True, arguments=told["arguments"])
                for exchange, key in told["bindings"]:
                    await queue.bind(exchange, routing_key=key)
            for one in self.broker["messages"]:
                if one["waited_in"]:
                    await channel.default_exchange.publish(as_it_was(one), one["waited_in"])

    async def deliver_again(self) -> int:
        """Deliver what the old services had done already; return how many messages that was."""
        count = 0
        async with await aio_pika.connect(self.services.amqp_url) as connection:
            channel = await connection.channel()
            for one in self.broker["messages"]:
                if one["waited_in"] or one["kind"] not in ("event", "command"):
                    continue
                key = [one["exchange"], one["routing_key"]]
                for name, told in self.broker["queues"].items():
                    if key in told["bindings"]:
                        await channel.default_exchange.publish(as_it_was(one), name)
                        count += 1
        return count

    async def depths(self) -> dict[str, int]:
        """Return how many messages wait in each queue that the old services had."""
        found = {}
        async with await aio_pika.connect(self.services.amqp_url) as connection:
            channel = await connection.channel()
            for name in self.broker["queues"]:
                queue = await channel.declare_queue(name, passive=True)
                found[name] = queue.declaration_result.message_count or 0
        return found

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Look into the database."""
        connection = await asyncpg.connect(self.services.superuser_url)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the API, and return JSON or bytes."""
        url = f"http://127.0.0.1:{self.services.http_port}{path}"
        async with httpx.AsyncClient(trust_env=False, timeout=60, headers=self.headers) as client:
            answer = await client.request(method, url, json=body)
        assert answer.status_code < 300, (method, path, answer.status_code, answer.text)
        is_json = "json" in answer.headers.get("content-type", "")
        return answer.json() if is_json and answer.content else answer.content

    async def log_in(self) -> None:
        """Sign in as the administrator of then."""
        login = {"username": "admin", "password": self.keys["admin_password"]}
        pair = await self.call("POST", "/api/v1/auth/login", login)
        self.headers["authorization"] = f"Bearer {pair['access_token']}"

    def job(self, kind: str, name: str) -> str:
        """Return the id of a job by the name that the fixture gives it."""
        return str(self.scenario["jobs"][kind][name]["job_id"])

    def instances(self, *studies: str) -> list[str]:
        """Return the SOP instance UIDs of studies by the names that the fixture gives them."""
        objects = self.scenario["objects"]
        return sorted(uid for name in studies for uid in objects[name]["instances"])

    def states(self, table: str, key: str, when: Callable[[Any], bool]) -> list[str]:
        """Return a column of the rows that the old stack left in a table."""
        return sorted(str(row[key]) for row in self.scenario["states"][table] if when(row))


def as_it_was(one: dict[str, Any]) -> aio_pika.Message:
    """Return a message of the fixture as it is published."""
    told = one["properties"]
    stamp = told.get("timestamp")
    return aio_pika.Message(
        one["body"].encode(),
        content_type=told.get("content_type"),
        delivery_mode=told.get("delivery_mode"),
        message_id=told.get("message_id"),
        type=told.get("type"),
        timestamp=None if stamp is None else datetime.fromtimestamp(stamp, UTC),
        app_id=told.get("app_id"),
        headers=told.get("headers", {}),
    )


def goes_on(then: Any, now: Any, *, but: frozenset[str]) -> list[str]:
    """Return what is not as it was, down to the last field; new fields may have come."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            f"{key}: {problem}"
            for key, value in then.items()
            if key not in but
            for problem in (goes_on(value, now[key], but=but) if key in now else ["it is gone"])
        ]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        return [one for pair in zip(then, now, strict=True) for one in goes_on(*pair, but=but)]
    return [] if then == now else [f"{then!r} has become {now!r}"]
