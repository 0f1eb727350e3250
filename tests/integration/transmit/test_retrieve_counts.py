"""Nodes that count what they send wrongly or not at all, and nodes that break off (TRX-11)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from pydicom.dataset import Dataset

from darkroom_common.dimse.acceptor import Admission, Door, DoorLimits, Entrance, listen
from darkroom_common.dimse.census import Census
from darkroom_common.dimse.serving import Answer, Handler, Request, Service
from darkroom_common.dimse.serving import Services as Offered
from darkroom_common.dimse.wire.command import CommandField, Element, Value
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_local.engines.ports import LOOPBACK
from tests.integration.transmit.nodes import FIND, MOVE
from tests.integration.transmit.test_remote_query import add
from tests.integration.transmit.test_rest import Both
from tests.integration.transmit.test_retrieve import a_study, ended, indexed, stack, start
from tests.support.builders import encode
from tests.support.dicom_peer import send
from tests.support.services import Services

pytestmark = pytest.mark.req("TRX-11")
Elements = Mapping[int, Value]


@pytest.fixture
async def both(services: Services) -> AsyncIterator[Both]:
    async with stack(services) as made:
        yield made


@dataclass
class Node:
    """A C-MOVE SCP that tells of its sub-operations what a test says.

    Attributes:
        told: of (sent so far, 1 for the final response), elements of a response.
        most: objects after which it aborts the association.
    """

    study: list[Dataset]
    to: int
    told: Callable[[int, int], Elements] = lambda _sent, _final: {}
    sends: bool = True
    most: int = 1000
    asked: list[int] = field(default_factory=list)

    def move(self, request: Request) -> Iterator[Answer]:
        named = request.data_set().get("SOPInstanceUID") or []
        uids = {named} if isinstance(named, str) else set(named)
        wanted = [one for one in self.study if not uids or one.SOPInstanceUID in uids]
        self.asked.append(len(wanted))
        for number, one in enumerate(wanted if self.sends else [], 1):
            if number > self.most:
                raise ProtocolError("broken-off")
            uid = str(one.SOPInstanceUID)
            assert send(self.to, [(uid, encode(one))]) == {uid: 0}
            yield Answer(0xFF00, elements=self.told(number, 0))
        yield Answer(0, elements=self.told(len(wanted), 1))

    def find(self, request: Request) -> Iterator[Answer]:
        keys = request.data_set()
        if keys.QueryRetrieveLevel == "SERIES":
            found = Dataset()
            found.SeriesInstanceUID = self.study[0].SeriesInstanceUID
            yield Answer(0xFF00, found)
        else:
            for one in self.study:
                found = Dataset()
                found.SOPInstanceUID, found.SOPClassUID = one.SOPInstanceUID, one.SOPClassUID
                yield Answer(0xFF00, found)
        yield Answer(0)


@contextmanager
def served(node: Node) -> Iterator[int]:
    listener = listen(LOOPBACK, 0)
    offered = Offered(
        Service((MOVE,), {CommandField.C_MOVE: Handler(node.move)}),
        Service((FIND,), {CommandField.C_FIND: Handler(node.find)}),
    )
    limits = DoorLimits(associations=10, per_host=10)
    door = Door([Entrance(listener)], limits, offered, Census(), lambda *_: Admission())
    port = int(listener.getsockname()[1])
    door.start()
    try:
        yield port
    finally:
        door.close(5)


def _counts(completed: int) -> Elements:
    return {Element.COMPLETED: completed, Element.FAILED: 0, Element.WARNED: 0}


@pytest.mark.parametrize(
    "told",
    [
        lambda _sent, _final: {},
        lambda sent, final: {} if final else _counts(sent),
        lambda _sent, final: _counts(0) if final else {},
        lambda sent, final: _counts(0 if final else sent),
        lambda _sent, _final: {Element.COMPLETED: b"", Element.FAILED: b""},
        lambda sent, _final: {Element.COMPLETED: sent.to_bytes(4, "little")},
        lambda sent, final: {**_counts(sent), Element.FAILED: 2 * final},
    ],
    ids=["none", "pending", "zeros", "final zeros", "empty", "four bytes", "two too many"],
)
async def test_what_has_come_is_believed(both: Both, told: Callable[[int, int], Elements]) -> None:
    node = Node(a_study(3), both.desk.services.dicom_port, told)
    uid = str(node.study[0].StudyInstanceUID)
    with served(node) as port:
        await add(both, "PEER", port)
        if told(3, 1).get(Element.FAILED) == 2:  # they are here, from elsewhere
            more = a_study(2, StudyInstanceUID=uid)
            objects = [(str(one.SOPInstanceUID), encode(one)) for one in more]
            await asyncio.to_thread(send, node.to, objects)
            await indexed(both, uid, 2)
        job = await ended(both, await start(both, "PEER", uid), "DONE", "FAILED", "RETRYING")
        assert (job["state"], job["reason"], job["attempts"]) == ("DONE", "", 1), job
        assert job["completed"] >= 1
        await indexed(both, uid, 3)
    assert node.asked == [3]


async def test_nothing_is_told_as_nothing(both: Both) -> None:
    node = Node(a_study(3), both.desk.services.dicom_port, sends=False)
    with served(node) as port:
        await add(both, "PEER", port)
        uid = str(node.study[0].StudyInstanceUID)
        job = await ended(both, await start(both, "PEER", uid), "DONE", "FAILED", "RETRYING")
    assert (job["state"], job["reason"]) == ("FAILED", "NothingFound")


async def test_a_node_that_breaks_off_again_and_again_is_asked_for_the_rest(both: Both) -> None:
    node = Node(a_study(8), both.desk.services.dicom_port, most=2)
    backoff = {"initial_seconds": 1, "multiplier": 1, "ceiling_seconds": 1, "max_attempts": 2}
    with served(node) as port:
        await add(both, "PEER", port, backoff=backoff)
        uid = str(node.study[0].StudyInstanceUID)
        job = await ended(both, await start(both, "PEER", uid), "DONE", "FAILED")
        assert (job["state"], job["attempts"]) == ("DONE", 4), job
        await indexed(both, uid, 8)
    assert node.asked == [8, 6, 4, 2]
