"""What transmit is to ask of other DICOM nodes. Keys and attributes, which are PHI, are sealed.

The broker carries UIDs, names of destinations and job ids; what each request seals is one of the
models of `remote_bodies`.
"""

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from darkroom_common.messages.base import Command, MessageId, Request, Uid
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.remote import (
    NewProcedureStep,
    ProcedureStepChange,
    RemoteQuery,
    WorklistQuery,
)

By = Field(default="", max_length=64, description="user name")
Method = Literal["move", "get"]


class QueryRemote(Request):
    """Ask a destination by C-FIND, study root. `sealed` is a `RemoteQuery`; so are the matches."""

    TYPE: ClassVar[str] = "transmit.remote.query.v1"
    SEALED: ClassVar[type[BaseModel] | None] = RemoteQuery

    remote: Name
    requested_by: str = By


class QueryWorklist(Request):
    """Ask for scheduled procedure steps. `sealed` is a `WorklistQuery`; so are the matches."""

    TYPE: ClassVar[str] = "transmit.worklist.query.v1"
    SEALED: ClassVar[type[BaseModel] | None] = WorklistQuery

    remote: Name
    requested_by: str = By


class CreateProcedureStep(Request):
    """Tell by N-CREATE that a procedure step has begun. `sealed` is a `NewProcedureStep`."""

    TYPE: ClassVar[str] = "transmit.procedure_step.create.v1"
    SEALED: ClassVar[type[BaseModel] | None] = NewProcedureStep

    remote: Name
    sop_instance_uid: Uid
    requested_by: str = By


class SetProcedureStep(Request):
    """Tell by N-SET what became of a procedure step. `sealed` is a `ProcedureStepChange`."""

    TYPE: ClassVar[str] = "transmit.procedure_step.set.v1"
    SEALED: ClassVar[type[BaseModel] | None] = ProcedureStepChange

    sop_instance_uid: Uid
    requested_by: str = By


class RetrieveFromRemote(Command):
    """Have objects of a destination retrieved. Transmit keeps it as a job of its own."""

    TYPE: ClassVar[str] = "transmit.retrieve.v1"

    job_id: MessageId
    remote: Name
    study_instance_uid: Uid
    series_instance_uid: Uid | None = None
    sop_instance_uids: tuple[Uid, ...] = Field(default=(), max_length=500)
    method: Method = "move"
    requested_by: str = By


class StartRetrieve(RetrieveFromRemote, Request):
    """The same of an API of an earlier release, which waits for the reply that the job is kept."""

    TYPE: ClassVar[str] = "transmit.retrieve.start.v1"


class ActOnRetrieve(Request):
    """Try a retrieve job again that has ended, or cancel one."""

    TYPE: ClassVar[str] = "transmit.retrieve.act.v1"

    job_id: MessageId
    action: Literal["retry", "cancel"]
    requested_by: str = By


REMOTE_REQUESTS = (
    QueryRemote,
    QueryWorklist,
    CreateProcedureStep,
    SetProcedureStep,
    StartRetrieve,
    ActOnRetrieve,
)
