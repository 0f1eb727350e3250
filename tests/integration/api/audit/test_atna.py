"""The audit log goes to an audit record repository, at least once, whatever happens on the way."""

import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from darkroom_api.atna.forwarding import Forwarding, RepositoryAway, TlsWire, tls_context
from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import Entry
from tests.integration.api.audit.conftest import SEAL
from tests.support.audit_repository import repository
from tests.support.certificates import Authority, Pair

if TYPE_CHECKING:
    from tests.integration.api.audit.conftest import Desk


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def of_server(authority: Authority, *, asks: bool = False) -> ssl.SSLContext:
    pair = authority.sign("repository")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
    return context


_WIRES: list[TlsWire] = []


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """No connection outlives its test."""
    yield
    while _WIRES:
        _WIRES.pop().close()


def forwarding(
    desk: "Desk", port: int, authority: Authority, mine: Pair | None = None
) -> Forwarding:
    files = (None, None) if mine is None else (mine.certificate, mine.key)
    context = tls_context(authority.file, *files)
    wire = TlsWire("localhost", port, context)
    _WIRES.append(wire)
    return Forwarding(desk.database, SEAL, wire, repository=f"localhost:{port}", name="darkroom")


async def sent(made: Forwarding) -> int:
    number = 0
    while await made.send():
        number += 1
    return number


async def write(desk: "Desk", *entries: Entry) -> None:
    async with desk.database.transaction() as db:
        await desk.audit.add(db, entries)
    await desk.chain.join()


@pytest.mark.req("API-05")
async def test_every_action_is_a_message_of_the_standards_form(
    desk: "Desk", authority: Authority
) -> None:
    hostile: dict[str, Any] = {
        "user_id": "u-1",
        "username": 'an"<na>\x01&\ud800',
        "user_agent": "\x00",
    }
    async with repository(of_server(authority)) as there:
        made = forwarding(desk, there.port, authority)
        await sent(made)  # it begins with what comes from now on
        for action in Action:
            await write(
                desk,
                Entry(action, "study", "1.2.3", address=ip_address("10.0.0.9"), **hostile),
                Entry(action, outcome="failure", phi={"name": "MEYER^ANNA"}),
            )
        associations = [
            {"direction": way, "result": result, "commands": commands, "reason": "x\x02"}
            for way in ("in", "out")
            for result in ("released", "rejected")
            for commands in ({"C-STORE": 2}, {"C-FIND": 1}, {"C-ECHO": 1})
        ]
        await write(desk, *(Entry(Action.DICOM_ASSOCIATION, details=one) for one in associations))
        assert await sent(made) == len(Action) + 1
    assert there.faults == []
    assert [one.action for one in there.taken[: 2 * len(Action)]] == [
        str(action) for action in Action for _ in range(2)
    ]
    assert {one.message_id for one in there.taken} == {"DICOM+RFC3881"}
    assert {one.priority for one in there.taken} == {85, 84}
    by_action = {one.action: one for one in there.taken}
    assert by_action["AUTH_LOGIN"].event == "110114"
    assert by_action["STUDY_READ"].event == "110103"
    assert by_action["AUDIT_READ"].event == "110101"
    events = [one.event for one in there.taken[2 * len(Action) :]]
    assert events[:3] == ["110104", "110112", "DICOM_ASSOCIATION"]
    assert events[3:6] == ["110113"] * 3
    assert there.taken[0].users == ["u-1", "darkroom"]


async def test_nothing_is_lost_while_the_repository_is_away_or_cuts_the_line(
    desk: "Desk", authority: Authority
) -> None:
    context = of_server(authority)
    async with repository(context) as there:
        made = forwarding(desk, there.port, authority)
        await sent(made)
        await desk.write("first")
        await sent(made)
        port = there.port
    for number in range(20):
        await desk.write(*(f"{number}-{n}" for n in range(5)))
    with pytest.raises(RepositoryAway):
        await made.send()
    async with repository(context, port) as again:
        again.cut_after = 33  # in the middle of a link
        for _ in range(50):
            try:
                if not await made.send():
                    break
            except RepositoryAway:
                continue
        names = [
            one.document.findall("ActiveParticipant")[0].attrib["UserName"] for one in again.taken
        ]
    assert again.faults == []
    assert again.connections == 2
    wanted = [f"{number}-{n}" for number in range(20) for n in range(5)]
    assert list(dict.fromkeys(name for name in names if name != "first")) == wanted


async def test_another_process_goes_on_where_one_was_killed(
    desk: "Desk", authority: Authority
) -> None:
    async with repository(of_server(authority)) as there:
        await sent(forwarding(desk, there.port, authority))
        await desk.write("a")
        await desk.write("b")
        assert await sent(forwarding(desk, there.port, authority)) == 2
        await desk.write("c")
        assert await sent(forwarding(desk, there.port, authority)) == 1
        assert len(there.taken) == 4  # `b` again, on the new connection


async def test_who_is_not_the_repository_gets_nothing(
    desk: "Desk", authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with repository(of_server(Authority(tmp_path / "other"))) as there:
        made = forwarding(desk, there.port, authority)
        await sent(made)
        await desk.write("a")
        with pytest.raises(RepositoryAway, match="CertVerification"):
            await made.send()
        assert there.taken == []


async def test_a_repository_may_ask_who_we_are(desk: "Desk", authority: Authority) -> None:
    async with repository(of_server(authority, asks=True)) as there:
        made = forwarding(desk, there.port, authority, authority.sign("darkroom"))
        await sent(made)
        await desk.write("a")
        assert await sent(made) == 1
        assert len(there.taken) == 1
