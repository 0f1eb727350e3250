"""Messages of many objects: bounded, whole, and what earlier releases have left is read as one."""

import json

import pytest

from darkroom_common.messages import batch as batch_module
from darkroom_common.messages.base import InvalidMessage
from darkroom_common.messages.batch import BYTES_LIMIT, ITEMS_LIMIT
from darkroom_common.messages.events import InstancesIndexed, InstancesStored
from darkroom_common.messages.registry import decode
from tests.support.builders import a_stored_item

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FACT = {
    "id": "0" * 31 + "1",
    "occurred_at": "2026-01-02T03:04:05Z",
    "receipt": "0" * 31 + "1",
    "study_instance_uid": "1.2",
    "series_instance_uid": "1.3",
    "sop_instance_uid": "1.4",
    "sop_class_uid": "1.5",
    "transfer_syntax_uid": "1.2.840.10008.1.2.1",
    "object_key": "a/b.dcm",
    "sha256": "a" * 64,
    "size": 10,
    "calling_ae_title": "SCANNER",
    "called_ae_title": "DARKROOM",
}
STORED = FACT | {"data_set_offset": 300, "received_at": "2026-01-02T03:04:05Z", "source": "stow"}
INDEXED = FACT | {"modality": "CT"}


def test_nothing_is_no_message() -> None:
    assert InstancesStored.of([]) == []


def test_what_is_there_at_once_is_one_message_up_to_a_limit() -> None:
    items = [a_stored_item() for _ in range(2 * ITEMS_LIMIT + 1)]
    messages = InstancesStored.of(items)
    assert [len(one.items) for one in messages] == [ITEMS_LIMIT, ITEMS_LIMIT, 1]
    assert [item for one in messages for item in one.items] == items
    assert len({one.id for one in messages}) == len(messages)


def test_a_message_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "BYTES_LIMIT", 4096)
    items = [a_stored_item(object_key="k" * size) for size in (900, 900, 1024, 10, 10, 900)]
    messages = InstancesStored.of(items)
    assert [item for one in messages for item in one.items] == items
    assert len(messages) > 2
    assert all(len(one.to_body()) < 4096 + 200 for one in messages)
    monkeypatch.setattr(batch_module, "BYTES_LIMIT", 10)
    assert [len(one.items) for one in InstancesStored.of(items)] == [1] * len(items)


def test_the_longest_message_is_far_below_what_rabbitmq_takes() -> None:
    items = [a_stored_item(object_key="\U0001f9b4" * 1024) for _ in range(ITEMS_LIMIT)]
    assert max(len(one.to_body()) for one in InstancesStored.of(items)) < BYTES_LIMIT + 4096


def test_traces_of_items() -> None:
    both = InstancesStored.of([a_stored_item(traceparent=TRACE), a_stored_item(traceparent=OTHER)])
    assert both[0].traces == [{"traceparent": TRACE}, {"traceparent": OTHER}]
    assert both[0].trace == {}
    same = InstancesStored.of([a_stored_item(traceparent=TRACE) for _ in range(3)])
    assert same[0].traces == [{"traceparent": TRACE}]
    assert same[0].trace == {"traceparent": TRACE}
    assert InstancesStored.of([a_stored_item()])[0].trace == {}


def test_halves_and_singles_hold_all_items() -> None:
    (whole,) = InstancesStored.of([a_stored_item() for _ in range(5)])
    left, right = whole.halves()
    assert (*left.items, *right.items) == whole.items
    assert left.items
    assert right.items
    assert tuple(one.items[0] for one in whole.singles()) == whole.items


def test_a_stored_object_of_an_earlier_release_is_a_batch_of_one() -> None:
    message = decode("dicom.instance.stored.v1", json.dumps(STORED).encode())
    assert isinstance(message, InstancesStored)
    assert (message.id, message.TYPE) == (STORED["id"], "dicom.instances.stored.v2")
    (item,) = message.items
    told = json.loads(item.model_dump_json())
    assert {name: told[name] for name in STORED if name in told} == {
        name: value for name, value in STORED.items() if name not in ("id", "occurred_at")
    }


def test_an_indexed_instance_of_an_earlier_release_is_a_batch_of_one() -> None:
    message = decode("dicom.instance.indexed.v1", json.dumps(INDEXED).encode())
    assert isinstance(message, InstancesIndexed)
    (item,) = message.items
    assert (item.receipt, item.modality, item.called_ae_title) == (
        INDEXED["receipt"],
        "CT",
        "DARKROOM",
    )


@pytest.mark.parametrize("body", [b"{not json", b"[]", b'{"receipt": "x"}'])
def test_what_an_earlier_release_cannot_have_left_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode("dicom.instance.stored.v1", body)


def test_a_message_may_be_as_long_as_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [a_stored_item() for _ in range(3)]
    length = sum(len(one.model_dump_json().encode()) for one in items[:2])
    monkeypatch.setattr(batch_module, "BYTES_LIMIT", length)
    assert [len(one.items) for one in InstancesStored.of(items)] == [2, 1]
    monkeypatch.setattr(batch_module, "BYTES_LIMIT", length - 1)
    assert [len(one.items) for one in InstancesStored.of(items[:2])] == [1, 1]


@pytest.mark.parametrize("count", [2, 3, 7, 250])
def test_halves_are_halves(count: int) -> None:
    items = tuple(a_stored_item() for _ in range(count))
    first, second = InstancesStored(items=items).halves()
    assert first.items + second.items == items
    assert len(first.items) == count // 2


def test_readers_ignore_what_they_do_not_know() -> None:
    item = a_stored_item()
    more = type(item).model_validate(item.model_dump() | {"of_a_later_release": 1})
    assert more == item
    assert hash(more) == hash(item), "nobody changes it"
