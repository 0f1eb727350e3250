"""What modalities have told of their procedure steps."""

from typing import ClassVar, Literal

from pydantic import Field

from darkroom_common.messages.base import AeTitle, Event, Uid


class ProcedureStepChanged(Event):
    """A modality has told that a performed procedure step begins, or how it has ended (MPPS).

    Published by ingest in the transaction that keeps it.
    """

    TYPE: ClassVar[str] = "dicom.procedure_step.changed.v1"

    sop_instance_uid: Uid
    state: Literal["IN PROGRESS", "COMPLETED", "DISCONTINUED"]
    study_instance_uids: tuple[Uid, ...]
    in_progress: tuple[Uid, ...] = Field(
        default=(), description="studies of them of which another step is in progress"
    )
    modality: str = Field(max_length=16)
    calling_ae_title: AeTitle
