"""What the owners of jobs say of them."""

from typing import ClassVar, Literal

from pydantic import Field

from darkroom_common.messages.base import Event, MessageId

TransmitState = Literal[
    "PENDING", "SENDING", "RETRYING", "SENT", "COMMITTED", "FAILED", "CANCELLED"
]
PrintState = Literal[
    "QUEUED", "COMPOSING", "PRINTING", "DONE", "RETRYING", "UNKNOWN", "FAILED", "CANCELLED"
]


class TransmitJobChanged(Event):
    """A transmit job has entered a state. Published by transmit in the job's transaction."""

    TYPE: ClassVar[str] = "transmit.job.changed.v1"

    job_id: MessageId
    destination: str = Field(max_length=64)
    state: TransmitState
    attempt: int = Field(default=0, ge=0)


class PrintJobChanged(Event):
    """A print job has entered a state. Published by print in the job's transaction."""

    TYPE: ClassVar[str] = "print.job.changed.v1"

    job_id: MessageId
    printer: str = Field(max_length=64)
    state: PrintState


class CommandRefused(Event):
    """A command was taken and will never be carried out, and no job of its owner says so.

    Published by the owner in the transaction that takes the command; `command_id` is the `id` of
    the command. Where a job row can be made, the job is FAILED instead and this is not published.
    """

    TYPE: ClassVar[str] = "command.refused.v1"

    command_id: MessageId
    type: str = Field(max_length=64, description="of the command")
    reason: str = Field(max_length=500, description="a sentence for people, without PHI")
