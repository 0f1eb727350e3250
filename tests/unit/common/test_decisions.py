"""Decisions that need no I/O: migrations, retries, keys, admission, the gate."""

import asyncio
import re

import pytest
from pynetdicom import AllStoragePresentationContexts

from darkroom_common.amqp.gate import LAST_DELAY_OF_FAILURES, WINDOW, Gate
from darkroom_common.amqp.retry import (
    ATTEMPT,
    DELIVERY_COUNT,
    Dead,
    Retry,
    attempts_in,
    crashed_too_often,
    crashes_in,
    decide,
    reason_of,
)
from darkroom_common.dicom.identity import Identity
from darkroom_common.dimse.contexts import storage_sop_classes, transfer_syntaxes
from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.errors import ConfigurationError, PermanentError, TransientError
from darkroom_common.objects.keys import DEFAULT_TEMPLATE, KeyTemplate, component
from darkroom_common.postgres.migrate import Migration, load_migrations
from darkroom_common.postgres.migrate import decide as decide_schema
from darkroom_common.topology import CRASH_LIMIT, METADATA_INDEX
from darkroom_ingest.receiving.acceptance import Offer, Room, admit, match
from tests.support.waiting import LIMIT, until

PRE, POST = Migration(1, "pre", "0001_pre_a.sql", "a"), Migration(2, "post", "0002_post_b.sql", "b")


@pytest.mark.parametrize(
    ("applied", "refused"),
    [
        ({1: ("pre", PRE.checksum)}, None),
        ({1: ("pre", PRE.checksum), 2: ("post", POST.checksum)}, None),
        ({1: ("pre", PRE.checksum), 3: ("pre", "newer")}, None),
        ({1: ("pre", PRE.checksum), 4: ("post", "newer")}, "for a newer Darkroom"),
        ({}, "run the migration first"),
        ({1: ("pre", "changed")}, "was changed after"),
    ],
)
def test_old_code_runs_on_a_newer_pre_and_refuses_a_newer_post(
    applied: dict[int, tuple[str, str]], refused: str | None
) -> None:
    reason = decide_schema([PRE, POST], applied, schema="index")
    assert (reason is None) if refused is None else (reason is not None and refused in reason)


@pytest.mark.parametrize(
    "package",
    [f"darkroom_{name}" for name in ("metadata", "transmit", "print", "api", "licensing")],
)
def test_every_schema_has_migrations_in_order(package: str) -> None:
    versions = [migration.version for migration in load_migrations(package)]
    assert versions == list(range(1, len(versions) + 1))
    assert versions


def test_retry_goes_through_the_tiers_then_dies() -> None:
    error = RuntimeError("text of a library")
    path = [decide(METADATA_INDEX, failed_before=n, error=error) for n in range(6)]
    assert path[:5] == [Retry(t, n) for n, t in enumerate(("5s", "30s", "2m", "10m", "1h"), 1)]
    assert path[5] == Dead("gave up after 6 attempts: RuntimeError")
    assert isinstance(decide(METADATA_INDEX, failed_before=0, error=PermanentError("x")), Dead)


def test_only_many_crashes_make_a_message_dead() -> None:
    assert crashed_too_often(CRASH_LIMIT - 1) is None
    assert crashed_too_often(CRASH_LIMIT) is not None


async def test_the_gate_closes_when_nearly_all_fails_and_opens_on_success() -> None:
    gate = Gate("test")
    states = [gate.is_open]
    for _ in range(WINDOW - 1):
        gate.failed()
    states.append(gate.is_open)
    gate.failed()
    states.append(gate.is_open)
    assert states == [True, True, False]
    entered: list[int] = []

    async def enter(number: int) -> None:
        await gate.enter()
        entered.append(number)

    tasks = [asyncio.create_task(enter(n)) for n in range(5)]
    await until(lambda: entered)
    assert len(entered) == 1
    gate.succeeded()
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*tasks)
    assert gate.is_open


async def test_good_messages_behind_many_bad_ones_are_reached_within_seconds() -> None:
    gate = Gate("test")
    for _ in range(WINDOW):
        gate.failed()
    for _ in range(4):
        async with asyncio.timeout(LAST_DELAY_OF_FAILURES * 2):
            await gate.enter()
        gate.failed()
    assert not gate.is_open


IDENTITY = Identity("1.2", "1.2.3", "1.2.4", "1.2.5", b"\x1fPLANTED-1", ())


@pytest.mark.req("STO-01")
def test_a_key_has_no_identifying_text_and_tells_bytes_apart() -> None:
    keys = KeyTemplate.parse(DEFAULT_TEMPLATE, pseudonym_key=b"k" * 32)
    first, second = keys.key(IDENTITY, "a" * 64), keys.key(IDENTITY, "b" * 64)
    assert first != second
    assert "PLANTED" not in first
    assert re.fullmatch(r"[0-9a-f]{24}/1\.2\.4/1\.2\.5/1\.2\.3\.a{16}\.dcm", first)
    other = KeyTemplate.parse(DEFAULT_TEMPLATE, pseudonym_key=b"l" * 32)
    assert other.key(IDENTITY, "a" * 64).split("/")[0] != first.split("/")[0]


@pytest.mark.parametrize("uid", ["../../etc", "a/b", "..", ".", "x\x00", "", "1.", "-rf", "ü"])
def test_a_uid_is_hashed_when_it_is_no_safe_name(uid: str) -> None:
    assert re.fullmatch(r"h-[0-9a-f]{40}", component(uid))


@pytest.mark.parametrize(
    "template", ["{study}", "/{instance}{digest}", "{instance}/../{digest}", "{name}{digest}", "{"]
)
def test_a_template_that_cannot_keep_objects_apart_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError):
        KeyTemplate.parse(template, pseudonym_key=b"k" * 32)


OFFER = Offer("1.2", "1.2.3", "1.2.840.10008.1.2", "SCANNER", "DARKROOM")


@pytest.mark.parametrize(
    ("room", "draining", "status"),
    [
        (Room(5_000, 5_000), False, None),
        (Room(4_999, 5_000), False, StoreStatus.REFUSED_OUT_OF_RESOURCES),
        (Room(10_000, 5_000, "fsync failed"), False, StoreStatus.REFUSED_OUT_OF_RESOURCES),
        (Room(10_000, 5_000), True, StoreStatus.REFUSED_OUT_OF_RESOURCES),
    ],
)
def test_admission(room: Room, draining: bool, status: StoreStatus | None) -> None:
    refused = admit(room, draining=draining)
    assert (refused and refused.status) == status


def test_command_and_data_set_must_agree() -> None:
    assert match(OFFER, IDENTITY) is None
    other = Identity("1.2", "1.2.9", "1.2.4", "1.2.5", b"", ())
    refused = match(OFFER, other)
    assert refused is not None
    assert refused.status == StoreStatus.DATA_SET_DOES_NOT_MATCH
    assert str(refused.status) == "A900"


def test_what_is_offered_to_senders() -> None:
    classes, syntaxes = storage_sop_classes(), transfer_syntaxes()
    assert "1.2.840.10008.5.1.4.1.1.2" in classes
    assert "1.2.840.10008.5.1.4.1.1.3" in classes  # retired ultrasound multi-frame
    assert "1.2.840.10008.1.20.1" not in classes  # storage commitment is no storage
    assert {str(one.abstract_syntax) for one in AllStoragePresentationContexts} <= set(classes)
    assert len(set(classes)) == len(classes) > 150
    assert "1.2.840.10008.1.2.2" in syntaxes
    assert "1.2.840.10008.1.2.4.201" in syntaxes
    assert {"1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.8.1"} < set(syntaxes)
    assert len(set(syntaxes)) == len(syntaxes) > 40


@pytest.mark.parametrize("value", [None, -1, "3", 2.5, [3]])
def test_a_header_that_is_no_count_counts_nothing(value: object) -> None:
    for header, read in ((ATTEMPT, attempts_in), (DELIVERY_COUNT, crashes_in)):
        assert read({header: value}) == 0
        assert read({}) == 0
        assert [read({header: number}) for number in (0, 1, 7)] == [0, 1, 7]


def test_the_text_of_an_error_is_cut_and_a_librarys_is_not_shown() -> None:
    assert reason_of(TransientError("x" * 600)) == "TransientError: " + "x" * 484
    assert reason_of(ValueError("Planted^Name")) == "ValueError"
