"""`kill -9` of ingest at each named point of an order: it is applied once, and told."""

import asyncio
from contextlib import suppress

import orjson
import pytest

from darkroom_ingest.orders.blocks import block
from darkroom_local.engines.ports import free_port
from tests.chaos.killing import Killer
from tests.integration.ingest.orders.house import House
from tests.support.services import Services
from tests.unit.ingest.orders.builders import order

POINTS = ("order-before", "order-before-commit", "order-before-answer")


async def test_killed_at_a_point_an_order_is_applied_once(
    house: House, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    killer = Killer.prepare(services, monkeypatch)
    services.extra |= {"HL7_PORT": str(port), "HL7_HOST": "127.0.0.1", "PROCESSES": "1"}
    await services.start("ingest")
    for number, point in enumerate(POINTS):
        message = block(order(accession=f"A{number}", message=point).encode())
        killer.arrange(point)
        assert await _asked(port, message) == b""  # never acknowledged before it is durable
        await killer.died("ingest")
        await services.running["ingest"].start()
        await services.running["ingest"].ready()
        assert f"MSA|AA|{point}".encode() in await _asked(port, message)
    found = [house.entries.opened(row).accession_number for row in await house.rows()]
    assert sorted(found) == ["A0", "A1", "A2"]
    log = services.running["ingest"].log.read_bytes()
    answered = [line for line in log.splitlines() if b"hl7.answered" in line]
    assert {orjson.loads(line)["verdict"] for line in answered} == {"accepted"}
    assert b"Planted" not in log
    assert b"4711" not in log


async def _asked(port: int, message: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message)
        async with asyncio.timeout(30):
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                return await reader.readuntil(b"\x1c\x0d")
        return b""
    finally:
        writer.close()
