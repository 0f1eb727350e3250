"""Orders by MLLP on real sockets."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.dimse.tls import TlsFiles, TlsServer
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.procedure_steps import StudyOrdered
from darkroom_common.postgres.pool import Database
from darkroom_ingest.orders.blocks import block
from darkroom_ingest.orders.listener import Bounds, OrderPort
from darkroom_ingest.orders.orders import Orders
from tests.integration.ingest.orders.house import House
from tests.support.certificates import Authority
from tests.support.waiting import LIMIT, until
from tests.unit.ingest.orders.builders import PID, admission, order

HOST = "127.0.0.1"


@dataclass
class Line:
    """A connection of MLLP."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def put(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self) -> list[str]:
        """Return the segments of the next acknowledgement."""
        async with asyncio.timeout(LIMIT):
            raw = await self.reader.readuntil(b"\x1c\x0d")
        assert raw.startswith(b"\x0b")
        return raw[1:-2].decode().strip("\r").split("\r")

    async def ask(self, message: str | bytes) -> str:
        await self.put(block(message if isinstance(message, bytes) else message.encode()))
        return (await self.answer())[1]

    async def ended(self) -> None:
        """Return when the other side has closed, or thrown away, the connection."""
        async with asyncio.timeout(LIMIT):
            with suppress(ConnectionError):
                assert await self.reader.read() == b""

    def close(self) -> None:
        self.writer.close()


@dataclass
class Port:
    number: int
    lines: list[Line] = field(default_factory=list)

    async def line(self) -> Line:
        self.lines.append(Line(*await asyncio.open_connection(HOST, self.number)))
        return self.lines[-1]


@asynccontextmanager
async def serving(orders: Orders, **changes: Any) -> AsyncIterator[Port]:
    given: dict[str, Any] = {
        "peers": [ip_network("127.0.0.0/8")],
        "connections": 8,
        "per_host": 4,
        "most": 100_000,
        "message_seconds": 20.0,
        "idle_seconds": 20.0,
    }
    tls = changes.pop("tls", None)
    port = OrderPort(orders, Bounds(**given | changes), "ISO_IR 192", tls)
    with socket.create_server((HOST, 0)) as listener:
        running = asyncio.create_task(port.run(listener))
        made = Port(listener.getsockname()[1])
        try:
            yield made
        finally:
            for line in made.lines:
                line.close()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def test_an_order_lives_from_new_to_cancelled(house: House) -> None:
    async with serving(house.orders) as port:
        line = await port.line()
        assert await line.ask(order()) == "MSA|AA|M1"
        state, entry = await house.only()
        assert (state, entry.accession_number, entry.study_instance_uid) == (
            "SCHEDULED",
            "A1",
            "1.2.3.4",
        )
        (ordered,), (told,) = await house.told(StudyOrdered), await house.told()
        assert (ordered["study_instance_uid"], ordered["ordered_at"]) == (
            "1.2.3.4",
            "2026-11-26T08:00:00Z",
        )
        assert (told["source"], told["kind"], told["by"]) == ("hl7", "ORM^O01", "hl7:RIS")
        assert "Planted" not in str(told)
        later = order("XO", message="M2").replace("20261127103000", "20261127113000")
        assert await line.ask(later) == "MSA|AA|M2"
        assert (await house.only())[1].scheduled_at.hour == 11
        assert await line.ask(order("SC", status="IP", message="M3")) == "MSA|AA|M3"
        assert (await house.only())[0] == "STARTED"
        assert await line.ask(order("SC", status="SC", message="M4")) == "MSA|AA|M4"
        assert (await house.only())[0] == "STARTED"
        assert await line.ask(order("DC", message="M5")) == "MSA|AA|M5"
        assert (await house.only())[0] == "DISCONTINUED"
        assert await line.ask(order("CA", message="M6")) == "MSA|AA|M6"
        assert await line.ask(order("XO", message="M7")) == "MSA|AE|M7|the step has ended"
        unknown = await line.ask(order("CA", accession="NONE", message="M8"))
        assert unknown == "MSA|AE|M8|there is no such step"


async def test_a_cancelled_order_can_be_ordered_again(house: House) -> None:
    async with serving(house.orders) as port:
        line = await port.line()
        for number, control in enumerate(("NW", "CA", "NW")):
            assert (await line.ask(order(control, message=f"M{number}"))).startswith("MSA|AA")
        assert (await house.only())[0] == "SCHEDULED"


async def test_what_comes_twice_is_applied_once_and_answered_the_same(house: House) -> None:
    async with serving(house.orders) as port:
        first, second = await port.line(), await port.line()
        answers = await asyncio.gather(*(line.ask(order()) for line in (first, second)))
        assert answers == ["MSA|AA|M1"] * 2
        assert await first.ask(order("CA", message="M2")) == "MSA|AA|M2"
        assert await second.ask(order()) == "MSA|AA|M1"  # it comes late: it is not done again
        assert (await house.only())[0] == "CANCELLED"
        assert len(await house.told()) == 2


async def test_a_patient_is_changed_and_merged(house: House) -> None:
    async with serving(house.orders) as port:
        line = await port.line()
        await line.ask(order())
        other = order(pid=PID.replace("4711^^^HOSP", "4711^^^ELSE"), accession="A2", message="M2")
        await line.ask(other)
        renamed = PID.replace("Planted^Anna^B", "Renamed^Anna^")
        assert await line.ask(admission("A08", renamed, message="M3")) == "MSA|AA|M3"
        opened = {
            one.accession_number: one for one in map(house.entries.opened, await house.rows())
        }
        assert opened["A1"].patient_name == "Renamed^Anna^^Dr"
        assert opened["A2"].patient_name == "Planted^Anna^B^Dr"
        into = PID.replace("4711^^^HOSP", "5000^^^HOSP")
        merge = admission("A40", into, message="M4", merged="4711^^^HOSP^MR")
        assert await line.ask(merge) == "MSA|AA|M4"
        opened = {
            one.accession_number: one for one in map(house.entries.opened, await house.rows())
        }
        assert (opened["A1"].patient_id, opened["A2"].patient_id) == ("5000", "4711")
        assert await line.ask(admission("A01", message="M5")) == "MSA|AA|M5"


async def test_blocks_come_as_the_network_brings_them(house: House) -> None:
    async with serving(house.orders) as port:
        line = await port.line()
        raw = block(order().encode())
        for at in range(0, len(raw), 97):
            await line.put(raw[at : at + 97])
        assert (await line.answer())[1] == "MSA|AA|M1"
        several = [order(accession=f"B{n}", message=f"N{n}") for n in range(5)]
        await line.put(b"".join(block(one.encode()) for one in several))
        assert [(await line.answer())[1] for _ in range(5)] == [f"MSA|AA|N{n}" for n in range(5)]
        await line.put(b"\x0b" + order(message="LOST").encode()[:60])
        assert await line.ask(order(accession="C", message="N9")) == "MSA|AA|N9"
    assert len(await house.rows()) == 7


async def test_what_cannot_be_read_is_rejected_and_the_line_goes_on(house: House) -> None:
    async with serving(house.orders) as port:
        line = await port.line()
        assert (await line.ask(b"\x00\xff")).startswith("MSA|AR||")
        assert (await line.ask(admission("A99"))).startswith("MSA|AR|M1|the event is not taken")
        wrong = order(pid="PID|1||4711||NAME").encode().replace(b"NAME", b"M\xfcller")
        assert (await line.ask(wrong)).startswith("MSA|AE|M1|text is not in the character set")
        assert await line.ask(order()) == "MSA|AA|M1"


@pytest.mark.parametrize(
    ("raw", "changes"),
    [
        (b"GET / HTTP/1.1\r\n" * 400, {}),
        (b"\x0b" + b"x" * 200_000, {}),
        (block(b"x" * 200_000), {}),
        (b"\x0bMSH|half", {"message_seconds": 0.2}),
        (b"", {"idle_seconds": 0.2}),
    ],
)
async def test_who_does_not_keep_to_it_is_let_go(
    house: House, raw: bytes, changes: dict[str, float]
) -> None:
    async with serving(house.orders, **changes) as port:
        line = await port.line()
        with suppress(ConnectionError):
            await line.put(raw)
        await line.ended()
        again = await port.line()
        assert await again.ask(order()) == "MSA|AA|M1"


async def test_only_so_many_and_only_who_is_listed_may_connect(house: House) -> None:
    async with serving(house.orders, per_host=2) as port:
        lines = [await port.line() for _ in range(2)]
        for number, line in enumerate(lines):
            await line.ask(order(message=f"M{number}"))
        await (await port.line()).ended()
        lines[0].close()

        async def answered() -> bool:
            line = await port.line()
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                return await line.ask(order(message="M9")) == "MSA|AA|M9"
            return False

        await until(answered, "a place for another connection")
    async with serving(house.orders, peers=[ip_network("10.0.0.0/8")]) as port:
        await (await port.line()).ended()


async def test_without_the_database_it_is_to_be_sent_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Any:
        raise DependencyUnavailable("away")

    async with serving(house.orders) as port:
        line = await port.line()
        with monkeypatch.context() as patch:
            patch.setattr(Database, "transaction", away)
            assert await line.ask(order()) == "MSA|AR|M1|the database is away: send it again"
        assert await line.ask(order()) == "MSA|AA|M1"


@pytest.mark.req("DEP-08")
async def test_over_tls_who_shows_no_certificate_is_let_go(house: House, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "hospital").mkdir()
    hospital = Authority(tmp_path / "hospital", strict=False)
    server, sender = authority.sign("server"), authority.sign("sender")
    both = tmp_path / "both.pem"
    both.write_text(authority.file.read_text() + hospital.file.read_text())
    files = TlsFiles(server.certificate, server.key, both, "required", "1.2")
    tls = TlsServer(files)
    context = tls.lasting_context()
    lenient = authority.client(hospital.sign("lenient"))
    clients = ((authority.client(sender), True), (authority.client(), False), (lenient, False))
    async with serving(house.orders, tls=context) as port:
        for client, expected in clients:
            answered = False
            with suppress(OSError, asyncio.IncompleteReadError):
                line = Line(
                    *await asyncio.open_connection(
                        HOST, port.number, ssl=client, server_hostname="localhost"
                    )
                )
                port.lines.append(line)
                answered = await line.ask(order()) == "MSA|AA|M1"
            assert answered is expected
        plain = await port.line()
        await plain.put(block(order().encode()))
        with suppress(ConnectionError):
            assert b"MSA" not in await plain.reader.read()
        server.replace(authority.sign("renewed"))
        assert tls.look() is False
        line = Line(
            *await asyncio.open_connection(
                HOST, port.number, ssl=authority.client(sender), server_hostname="localhost"
            )
        )
        port.lines.append(line)
        assert await line.ask(order()) == "MSA|AA|M1"
        certificate = line.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert hashlib.sha256(certificate).hexdigest() == server.sha256
