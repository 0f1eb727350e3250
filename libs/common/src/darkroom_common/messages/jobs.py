"""What transmit and print tell of their jobs."""

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
