"""Nodes that ask badly, or too much: limits hold, memory stays flat, others are served."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.dimse.requestor import Association, Peer, PeerFault, associate
from darkroom_common.dimse.users.find import ask
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.command import (
    CommandField,
    Element,
    Value,
    encode_cancel,
    encode_command,
)
from darkroom_common.dimse.wire.data_set import IDENTIFIER_LIMIT, SYNTAXES, encode_data_set
from darkroom_common.dimse.wire.pdu import encode_data
from darkroom_ingest.answering.identifier import PATIENT_ROOT, STUDY_ROOT
from tests.integration.ingest.asking import HOST, Asked, answering, find, identifier
from tests.support.builders import a_data_set
from tests.support.services import Services

MANY = int(os.environ.get("DARKROOM_ASKS", "150"))
"""C-FINDs on one association."""
FLAT = 48 << 20
"""Bytes that an attack may cost this process, which has both ends."""


@pytest.fixture
async def asked(services: Services, tmp_path: Path) -> AsyncIterator[Asked]:
    limits: dict[str, Any] = {"stall_seconds": 1.0, "idle_seconds": 20.0, "request_seconds": 1.0}
    async with answering(services, tmp_path, **limits) as made:
        await made.seed.add(*(a_data_set(PatientID=f"P{n}") for n in range(40)))
        yield made


def rss() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def opened(asked: Asked) -> Association:
    proposals = [Proposal(model, SYNTAXES[:1]) for model in (STUDY_ROOT, PATIENT_ROOT)]
    return associate(Peer(HOST, asked.port, "DARKROOM", "ASKER", answer_seconds=20), proposals)


def a_find(message_id: int, identifier_bytes: bytes) -> bytes:
    """A C-FIND as PDUs of presentation context 1."""
    elements: dict[int, Value] = {
        Element.AFFECTED_SOP_CLASS: STUDY_ROOT,
        Element.MESSAGE_ID: message_id,
        Element.PRIORITY: 0,
    }
    command = encode_command(CommandField.C_FIND, elements, data_set=True)
    return encode_data(1, is_command=True, data=command, max_length=16_384) + encode_data(
        1, is_command=False, data=identifier_bytes, max_length=16_384
    )


def everything() -> bytes:
    return encode_data_set(identifier("STUDY", StudyInstanceUID=""), SYNTAXES[0])


def is_well(asked: Asked) -> None:
    """Somebody else is answered."""
    with asked.association() as other:
        status, found = find(other, identifier("STUDY", StudyInstanceUID="", PatientID="P7"))
    assert (status, len(found)) == (0, 1)


async def test_requests_one_after_the_other_cost_no_memory(asked: Asked) -> None:
    """Many on one association; one that does not wait for the answer is a violation."""

    def attack() -> None:
        association = opened(asked)
        wanted = identifier("STUDY", StudyInstanceUID="")
        before = 0
        for number in range(MANY):
            _, message_id = ask(association, CommandField.C_FIND, STUDY_ROOT, wanted)
            matches = 0
            while (answer := association.response(message_id)).command.is_pending:
                matches += 1
            assert (answer.command.status, matches) == (0, 40)
            if number == MANY // 5:
                before = rss()
        assert rss() - before < FLAT
        association.release()
        pipelined = opened(asked)
        one = a_find(1, everything())
        with suppress(PeerFault):  # it may be aborted while we go on
            for _ in range(100):
                pipelined.send(one * 50, deadline=float("inf"))
        with pytest.raises(PeerFault) as ended:
            while True:
                pipelined.receive(float("inf"))
        assert ended.value.reason in ("Aborted", "ConnectionLost")
        pipelined.abort()
        is_well(asked)

    await asyncio.to_thread(attack)


async def test_identifiers_are_limited(asked: Asked) -> None:
    """Megabytes, thousands of keys, deep sequences, nonsense: refused, at no cost."""

    def attack() -> None:
        before = rss()
        for _ in range(5):
            association = opened(asked)
            with pytest.raises(PeerFault), suppress(ConnectionError):
                association.send(a_find(1, bytes(IDENTIFIER_LIMIT + 2)), deadline=float("inf"))
                association.response(1)
            association.abort()
        keys = b"".join(struct.pack("<HH2sH", 0x0009, 0x1000 + n, b"LO", 0) for n in range(2000))
        nested = b""
        for _ in range(400):
            item = struct.pack("<HHL", 0xFFFE, 0xE000, len(nested)) + nested
            nested = struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, len(item)) + item
        stars = identifier("STUDY", PatientName="*a" * 30)
        level = encode_data_set(identifier("STUDY"), SYNTAXES[0])
        for data, expected in (
            (level[:8] + b"STUDY " + keys, 0xA900),
            (level + nested, 0xC000),
            (b"\x08\x00\x52\x00CS\xff\xff", 0xC000),
            (encode_data_set(stars, SYNTAXES[0]), 0xA900),
            (encode_data_set(identifier("STUDY", StudyDate="not a date"), SYNTAXES[0]), 0xA900),
        ):
            association = opened(asked)
            association.send(a_find(1, data), deadline=float("inf"))
            assert association.response(1).command.status == expected
            association.release()
        assert rss() - before < FLAT
        is_well(asked)

    await asyncio.to_thread(attack)


async def test_who_does_not_read_loses_the_association(asked: Asked) -> None:
    """Askers that take no answer hold a socket, no memory and no connection to the database."""

    def attack() -> None:
        before = rss()
        with ExitStack() as stack:
            slow = [opened(asked) for _ in range(20)]
            for one in slow:
                stack.callback(one.abort)
            question = a_find(1, everything())
            for one in slow:
                one.send(question, deadline=float("inf"))
            for _ in range(5):
                is_well(asked)
            assert rss() - before < FLAT

    await asyncio.to_thread(attack)


async def test_odd_cancels_and_half_open_associations(asked: Asked) -> None:
    """A C-CANCEL of nothing is passed over; what is begun and not gone on with is closed."""

    def attack() -> None:
        association = opened(asked)
        context = association.accepted[STUDY_ROOT, SYNTAXES[0]]
        for message_id in (0, 7, 65_535):
            association.ask(context, encode_cancel(message_id))
        wanted = identifier("STUDY", StudyInstanceUID="")
        _, message_id = ask(association, CommandField.C_FIND, STUDY_ROOT, wanted)
        association.ask(context, encode_cancel(message_id + 1))
        matches = 0
        while (answer := association.response(message_id)).command.is_pending:
            matches += 1
        assert (answer.command.status, matches) == (0, 40)
        association.release()
        half = [opened(asked) for _ in range(10)]
        question = a_find(1, everything())
        for one in half:
            one.send(question[: len(question) // 2], deadline=float("inf"))
        is_well(asked)
        for one in half:
            with pytest.raises(PeerFault):
                one.response(1)
            one.abort()
        is_well(asked)

    await asyncio.to_thread(attack)
