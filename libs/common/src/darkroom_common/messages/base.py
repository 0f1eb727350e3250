"""What every message has, and the types that its fields are made of."""

import uuid
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from darkroom_common.clock import utc_now
from darkroom_common.dicom.identity import LONGEST_UID
from darkroom_common.errors import PermanentError
from darkroom_common.messages.breaks import GROWS

MessageId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
ReceiptId = MessageId
Uid = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_UID, pattern=r"^[^\x00-\x1f\x7f/\\]+$"),
    Field(json_schema_extra={GROWS: True}),
]
"""A UID as received: PS3.5 section 9.1 has at most 64 characters, but archives hold odd ones.
A reader that takes fewer dead-letters such a message."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in lower-case hexadecimal."""
AeTitle = Annotated[str, StringConstraints(max_length=16)]
"""Application entity title without padding, PS3.5 section 6.2."""
ConflictId = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}$")]
ObjectKey = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class InvalidMessage(PermanentError):
    """A body that does not fit its type. The text names fields, never values."""


class Exchange(StrEnum):
    """The exchange that a kind of message goes to."""

    EVENTS = "darkroom.events"
    COMMANDS = "darkroom.commands"


def new_message_id() -> str:
    """Return a random id of 32 lower-case hexadecimal digits."""
    return uuid.uuid4().hex


def _now() -> datetime:
    return utc_now()


class Message(BaseModel):
    """A fact or a request. Readers ignore fields that they do not know."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    TYPE: ClassVar[str]
    EXCHANGE: ClassVar[Exchange]
    SEALED: ClassVar[type[BaseModel] | None] = None
    """The model of what `sealed` holds: as much a part of the contract as the fields."""

    id: MessageId = Field(default_factory=new_message_id)
    occurred_at: AwareDatetime = Field(default_factory=_now)

    def to_body(self) -> bytes:
        """Return the JSON that goes over the wire."""
        return self.model_dump_json().encode()

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the JSON that came over the wire.

        Raises:
            InvalidMessage: it is not JSON or does not fit; the text names the fields.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            fields = ", ".join(
                f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['type']}"
                for item in error.errors(include_input=False, include_url=False)
            )
            raise InvalidMessage(f"{cls.TYPE}: {fields}") from None


class Event(Message):
    """Something that has happened, in the past tense; any number of queues may want it."""

    EXCHANGE: ClassVar[Exchange] = Exchange.EVENTS


class Command(Message):
    """A request to the one service that owns the work; exactly one queue takes it."""

    EXCHANGE: ClassVar[Exchange] = Exchange.COMMANDS


class Request(Command):
    """A command whose sender waits for a `Reply`, up to a time limit; see `Broker.request`.

    Whoever takes it after its deadline drops it, and what is not done then is done no more: nobody
    finds later that what was answered with an error has been carried out. Only a transaction that
    is being committed at that moment goes on. It may be done twice: make it idempotent.
    """

    deadline: AwareDatetime | None = Field(
        default=None, description="set by the broker: when its sender waits no longer"
    )

    sealed: str = Field(
        default="", max_length=1 << 20, description="what is secret or PHI, sealed; see seal.py"
    )

    def until(self, limit: float) -> Self:
        """Return the same with the deadline in so many seconds from now."""
        return self.model_copy(update={"deadline": utc_now() + timedelta(seconds=limit)})

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline, negative after it; None without one.

        It is told by the wall clock, as other hosts know it: theirs must agree within a second.
        """
        return None if self.deadline is None else (self.deadline - utc_now()).total_seconds()


class Reply(BaseModel):
    """The answer to a request. What identifies a patient is in `sealed` and nowhere else."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    outcome: Literal[
        "done",
        "created",
        "not-found",
        "conflict",
        "no-room",  # there are as many as the licence is for
        "stale",  # it is not of the version that was to be changed
        "invalid",
        "unavailable",
        "failed",
        "peer-failed",  # another DICOM node has refused or cannot be worked with
        "peer-timeout",  # it does not answer in time
    ]
    reason: str = Field(default="", description="a sentence for people, without PHI")
    body: dict[str, Any] = Field(default_factory=dict)
    sealed: str = ""
