"""Events about many objects at once: one message with 1 to some hundred items.

Whoever publishes puts into a message what it has at that moment, and never waits for more. Whoever
consumes keeps an inbox row for each item, by its receipt, so that items that come again in other
company are recognised. An item that cannot be handled is split off and goes on alone.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from darkroom_common.messages.base import Event, ReceiptId

ITEMS_LIMIT: Final = 250
BYTES_LIMIT: Final = 256 << 10
"""Of the items of a message that we make, as JSON; an item that is longer goes alone."""
_READ_LIMIT: Final = 1000
"""Items of a message that we read: a later release may make longer ones."""


class Item(BaseModel):
    """One object of a batch. Readers ignore fields that they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    receipt: ReceiptId
    traceparent: str = Field(
        default="", max_length=256, description="W3C Trace Context of whatever brought it"
    )

    @property
    def trace(self) -> dict[str, str]:
        """The trace headers of this object; empty when it has none."""
        return {"traceparent": self.traceparent} if self.traceparent else {}


def items_field() -> Any:
    """Return the field that every kind of batch declares with its own kind of item."""
    return Field(min_length=1, max_length=_READ_LIMIT, description="one object each")


class Batch(Event):
    """An event about some objects."""

    items: tuple[Item, ...] = items_field()

    @classmethod
    def of(cls, items: Sequence[Item]) -> list[Self]:
        """Return the messages that hold all of these items, in their order."""
        messages: list[Self] = []
        first, length = 0, 0
        for at, item in enumerate(items):
            more = len(item.model_dump_json().encode())
            if at > first and (at - first == ITEMS_LIMIT or length + more > BYTES_LIMIT):
                messages.append(cls._holding(items[first:at]))
                first, length = at, 0
            length += more
        if items:
            messages.append(cls._holding(items[first:]))
        return messages

    @classmethod
    def _holding(cls, items: Sequence[Item]) -> Self:
        held: dict[str, Any] = {"items": tuple(items)}
        return cls(**held)

    @property
    def traces(self) -> list[dict[str, str]]:
        """The distinct traces of the items."""
        found = dict.fromkeys(item.traceparent for item in self.items if item.traceparent)
        return [{"traceparent": one} for one in found]

    @property
    def trace(self) -> dict[str, str]:
        """The headers to publish it with: the trace of all items when they share one."""
        shared = {item.traceparent for item in self.items}
        return self.items[0].trace if len(shared) == 1 else {}

    def halves(self) -> tuple[Self, Self]:
        """Return two messages with half of the items each; there must be more than one."""
        middle = len(self.items) // 2
        return self._holding(self.items[:middle]), self._holding(self.items[middle:])

    def singles(self) -> list[Self]:
        """Return a message for each item."""
        return [self._holding([item]) for item in self.items]
