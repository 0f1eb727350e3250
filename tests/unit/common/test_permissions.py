"""What each service may do at the broker: all that it needs, and nothing of another's."""

import re
from typing import Final

import pytest

from darkroom_common.amqp.permissions import (
    PUBLISHED,
    USERS,
    render_permissions,
    render_topic_permissions,
)
from darkroom_common.messages.events import InstancesIndexed, InstancesStored
from darkroom_common.messages.registry import MESSAGE_TYPES
from darkroom_common.topology import EXCHANGES, REQUEST_QUEUES, RETRY_TIERS, WORK_QUEUES
from darkroom_local.stack.layout import SERVICES

GRANTED: Final = {one["user"]: one for one in render_permissions("/")}
QUEUES: Final = (*WORK_QUEUES, *REQUEST_QUEUES)


def owner(queue: str) -> str:
    return USERS[queue.partition(".")[0]]


def test_there_is_a_user_for_each_service() -> None:
    assert tuple(USERS) == SERVICES
    assert list(GRANTED) == list(USERS.values())


@pytest.mark.parametrize("right", ["configure", "write", "read"])
def test_a_queue_is_its_service_s_alone(right: str) -> None:
    for queue in QUEUES:
        may = {user for user, one in GRANTED.items() if re.search(one[right], queue.name)}
        assert may == {owner(queue.name)}
        assert not any(re.search(one[right], f"{queue.name}.other") for one in GRANTED.values())
    for work in WORK_QUEUES:
        may = {user for user, one in GRANTED.items() if re.search(one[right], work.dead)}
        assert may == {owner(work.name), USERS["api"]}


def test_all_may_publish_retry_and_answer() -> None:
    assert len(EXCHANGES) == 3 + len(RETRY_TIERS)
    for one in GRANTED.values():
        assert all(re.search(one["write"], name) for name in (*EXCHANGES, "amq.default"))
        assert not re.search(one["configure"], "amq.default")
        assert not any(re.search(one["write"], name) for name in ("amq.topic", "amqXdefault", ""))


def test_every_type_is_published_by_somebody_and_bound_by_who_takes_it() -> None:
    published = {one.TYPE for types in PUBLISHED.values() for one in types}
    assert published == set(MESSAGE_TYPES)
    topics = {(one["user"], one["exchange"]): one for one in render_topic_permissions("/")}
    for queue in QUEUES:
        for message in queue.binds:
            granted = topics[owner(queue.name), message.EXCHANGE.value]
            assert re.search(granted["read"], message.TYPE), (queue.name, message.TYPE)
    printing = topics[USERS["print"], "darkroom.events"]
    assert not re.search(printing["write"], "dicom.instances.stored.v2")
    assert not re.search(printing["read"], "dicom.instances.stored.v2")
    assert topics[USERS["print"], "darkroom.commands"]["write"] == "^$"


def test_what_is_told_of_each_object_goes_only_to_who_needs_it() -> None:
    """The index, who routes (how a study came is what later rules ask), and who tells outside."""
    taken = {
        event: {queue.name for queue in WORK_QUEUES if event in queue.binds}
        for event in (InstancesStored, InstancesIndexed)
    }
    assert taken == {
        InstancesStored: {"metadata.index"},
        InstancesIndexed: {"transmit.route", "api.events"},
    }
