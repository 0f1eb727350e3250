"""What earlier releases have left in queues and outboxes, read as what took its place.

Nothing publishes these types any more and no queue is bound to them; a stack that is upgraded may
have some waiting. The receipt of the one object that such a message tells of was known to the
inboxes already, so that one that was handled before the upgrade is recognised.
"""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from darkroom_common.messages.base import InvalidMessage, Message
from darkroom_common.messages.batch import Batch
from darkroom_common.messages.events import InstancesIndexed, InstancesStored


def _one_of(cls: type[Batch], body: bytes) -> Message:
    """Read a body that told of one object as a batch with this object alone."""
    try:
        told = json.loads(body)
    except ValueError:
        raise InvalidMessage(f"{cls.TYPE}: body: json_invalid") from None
    if not isinstance(told, dict):
        raise InvalidMessage(f"{cls.TYPE}: body: model_type")
    batch: dict[str, Any] = {name: told[name] for name in ("id", "occurred_at") if name in told}
    return cls.from_body(json.dumps({**batch, "items": [told]}).encode())


EARLIER: Final[Mapping[str, Callable[[bytes], Message]]] = MappingProxyType(
    {
        "dicom.instance.stored.v1": lambda body: _one_of(InstancesStored, body),
        "dicom.instance.indexed.v1": lambda body: _one_of(InstancesIndexed, body),
    }
)
"""How to read each type that was given up, by its name."""
