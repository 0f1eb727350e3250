"""A door with a service of its own: a handler and a declaration are all that it costs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from darkroom_common.dimse.acceptor import Admission, Door, DoorLimits, Entrance, listen
from darkroom_common.dimse.census import Census
from darkroom_common.dimse.requestor import Peer, associate
from darkroom_common.dimse.serving import Answer, Handler, Request, Service, Services
from darkroom_common.dimse.statuses import CANCELLED, PENDING_MATCH, SUCCESS
from darkroom_common.dimse.users.echo import echo
from darkroom_common.dimse.users.find import STUDY_ROOT_FIND, find_once
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.command import CommandField, Element, encode_command
from darkroom_local.engines.ports import LOOPBACK
from tests.support.builders import CT
from tests.support.waiting import LIMIT

VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
MOST = 100_000


@dataclass
class Catalogue:
    """Finds what is asked for, again and again, until that is enough."""

    matches: int = 3
    asked: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def find(self, request: Request) -> Iterator[Answer]:
        keys = request.data_set()
        self.asked.append(str(keys.PatientID))
        try:
            for number in range(self.matches):
                if request.cancelled:
                    yield Answer(CANCELLED)
                    return
                match = Dataset()
                match.PatientID = f"{keys.PatientID}-{number}"
                yield Answer(PENDING_MATCH, match)
            yield Answer(SUCCESS)
        finally:
            self.ended.set()


@contextmanager
def a_door(
    catalogue: Catalogue, may: Callable[[int, str], bool] = lambda _field, _sop_class: True
) -> Iterator[int]:
    listener = listen(LOOPBACK, 0)
    queries = Service((STUDY_ROOT_FIND,), {CommandField.C_FIND: Handler(catalogue.find)})
    door = Door(
        entrances=[Entrance(listener)],
        limits=DoorLimits(associations=5, per_host=5),
        services=Services(queries),
        census=Census(),
        admit=lambda _request, _connection: Admission(may=may),
    )
    port = int(listener.getsockname()[1])
    door.start()
    try:
        yield port
    finally:
        door.close(5)


@contextmanager
def asking(port: int, *sop_classes: str) -> Iterator[Association]:
    caller = AE("SCU")
    for uid in (VERIFICATION, *sop_classes):
        caller.add_requested_context(uid, [EXPLICIT, "1.2.840.10008.1.2"])
    opened = caller.associate(LOOPBACK, port, ae_title="DOOR")
    assert opened.is_established
    try:
        yield opened
    finally:
        opened.release()


def keys(patient: str) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = "STUDY"
    made.PatientID = patient
    return made


def test_a_service_is_a_handler_and_a_declaration() -> None:
    catalogue = Catalogue()
    with a_door(catalogue) as port:
        with asking(port, STUDY_ROOT_FIND) as association:
            assert association.send_c_echo().Status == SUCCESS
            for patient in ("1", "2"):
                answers = list(association.send_c_find(keys(patient), STUDY_ROOT_FIND))
                found = [str(one.PatientID) for _, one in answers if one is not None]
                assert found == [f"{patient}-{number}" for number in range(3)]
                assert answers[-1][0].Status == SUCCESS
        peer = Peer(LOOPBACK, port, "DOOR", "US")
        echo(peer)
        (matches,) = find_once(peer, STUDY_ROOT_FIND, [keys("3")], limit=10, seconds=10)
        assert len(matches.data_sets) == 3
    assert catalogue.asked == ["1", "2", "3"]


def test_a_cancel_reaches_a_handler_that_runs() -> None:
    catalogue = Catalogue(matches=MOST)
    with a_door(catalogue) as port:
        peer = Peer(LOOPBACK, port, "DOOR", "US")
        (matches,) = find_once(peer, STUDY_ROOT_FIND, [keys("1")], limit=5, seconds=30)
        assert matches.truncated
        assert len(matches.data_sets) == 5
        assert catalogue.ended.wait(LIMIT)


def test_an_abort_ends_a_handler_that_runs() -> None:
    catalogue = Catalogue(matches=MOST)
    with a_door(catalogue) as port:
        with asking(port, STUDY_ROOT_FIND) as association:
            next(association.send_c_find(keys("1"), STUDY_ROOT_FIND))
            association.abort()
        assert catalogue.ended.wait(LIMIT)


def test_who_may_not_is_refused() -> None:
    catalogue = Catalogue()
    nobody = lambda command, _: command == CommandField.C_ECHO  # noqa: E731
    with a_door(catalogue, nobody) as port, asking(port, STUDY_ROOT_FIND) as association:
        assert association.send_c_echo().Status == SUCCESS
        ((status, _),) = association.send_c_find(keys("1"), STUDY_ROOT_FIND)
        assert status.Status == 0x0124
    assert catalogue.asked == []


@pytest.mark.parametrize(
    ("command_field", "sop_class", "status"),
    [
        (CommandField.C_FIND, CT, 0x0122),
        (CommandField.C_MOVE, STUDY_ROOT_FIND, 0x0211),
        (CommandField.N_ACTION, STUDY_ROOT_FIND, 0x0211),
        (0x7FFF, STUDY_ROOT_FIND, 0x0211),
        (CommandField.C_ECHO, VERIFICATION, 0x0000),
    ],
)
def test_what_is_not_served_is_refused_and_the_association_lives(
    command_field: int, sop_class: str, status: int
) -> None:
    with a_door(Catalogue()) as port:
        association = associate(
            Peer(LOOPBACK, port, "DOOR", "US"), [Proposal(STUDY_ROOT_FIND, (EXPLICIT,))]
        )
        for _ in range(2):
            message_id = association.next_message_id()
            elements: Any = {Element.AFFECTED_SOP_CLASS: sop_class, Element.MESSAGE_ID: message_id}
            association.ask(1, encode_command(command_field, elements))
            assert association.response(message_id).command.status == status
        association.release()


def test_what_a_context_does_not_offer_is_not_negotiated() -> None:
    with a_door(Catalogue()) as port, asking(port, CT) as association:
        assert [str(one.abstract_syntax) for one in association.accepted_contexts] == [VERIFICATION]
