"""What is asked and answered at once; a `Reply` says the real outcome.

Keys and attributes of patients are sealed, as one of the models of `specs.remote` or `specs.films`;
the broker carries UIDs, names and job ids.
"""

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from darkroom_common.messages.base import AeTitle, MessageId, ReceiptId, Request, Uid
from darkroom_common.messages.commands import RetrieveFromRemote
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.films import FilmOrder
from darkroom_common.specs.remote import (
    FirstOrder,
    NewProcedureStep,
    ProcedureStepChange,
    RemoteQuery,
    WorklistQuery,
)
from darkroom_common.specs.worklist.entries import WorklistEntry
from darkroom_common.specs.worklist.workitems import Keys, Payload

By = Field(default="", max_length=64, description="user name")


class EchoDestination(Request):
    """Test a destination: connect, negotiate, C-ECHO; nothing is sent."""

    TYPE: ClassVar[str] = "transmit.destination.echo.v1"

    name: Name


class DryRunRules(Request):
    """Explain what the rules would do with a stored study. What was found there is sealed."""

    TYPE: ClassVar[str] = "transmit.rules.dry_run.v1"

    study_instance_uid: Uid


class ActOnJob(Request):
    """Send a job again that has failed, or cancel one."""

    TYPE: ClassVar[str] = "transmit.job.act.v1"

    job_id: MessageId
    action: Literal["retry", "cancel"]
    requested_by: str = By


class FindDestination(Request):
    """Tell which destination a C-MOVE names. The reply has name and id, and the caller's moves."""

    TYPE: ClassVar[str] = "transmit.destination.find.v1"

    ae_title: AeTitle
    originator: AeTitle = Field(description="who asks; its moves that are not over are counted")


class FollowJob(Request):
    """Tell how far a job of sending is: its state, and how many instances came to what.

    The reply comes after `seconds`, or when the job is over: then it names what was not sent.
    """

    TYPE: ClassVar[str] = "transmit.job.follow.v1"

    job_id: MessageId
    named: bool = Field(
        default=False, description="name the instances that have failed, and that were not sent"
    )
    seconds: float = Field(default=0.0, ge=0, le=2, description="until the reply, at most")


class TakeCommitment(Request):
    """Keep that a node asks whether instances are kept; done is durable.

    The same transaction with the same instances is done again; with others it is a conflict.
    """

    TYPE: ClassVar[str] = "transmit.commitment.take.v1"

    transaction_uid: Uid
    calling_ae_title: AeTitle = Field(description="who asks")
    called_ae_title: AeTitle = Field(description="as whom it is told")
    sop_class_uids: tuple[Uid, ...] = Field(description="of each instance")
    sop_instance_uids: tuple[Uid, ...]


class FollowCommitment(Request):
    """Tell what is kept, for a report on the association that has asked, or what came of that.

    The reply has `failed`, failure reasons by SOP instance UID, when all has been looked at: then
    nobody else reports for a while.
    """

    TYPE: ClassVar[str] = "transmit.commitment.follow.v1"

    transaction_uid: Uid
    calling_ae_title: AeTitle
    step: Literal["look", "told", "gone"] = Field(
        description="told: the node has taken the report; gone: it is to be called"
    )


TRANSMIT_REQUESTS = (
    EchoDestination,
    DryRunRules,
    ActOnJob,
    FindDestination,
    FollowJob,
    TakeCommitment,
    FollowCommitment,
)


class AskPrinter(Request):
    """Ask a printer for its status now: connect, negotiate, N-GET."""

    TYPE: ClassVar[str] = "print.printer.ask.v1"

    name: Name


class ActOnPrintJob(Request):
    """Retry a job, cancel it, or say of an unknown one that its film has come out."""

    TYPE: ClassVar[str] = "print.job.act.v1"

    job_id: MessageId
    action: Literal["retry", "cancel", "confirm"]
    requested_by: str = By


class DrawFilm(Request):
    """Compose a film and keep it as a picture for a while.

    Of a job, or, without one, of the order in `sealed`. The reply names the picture.
    """

    TYPE: ClassVar[str] = "print.film.draw.v1"
    SEALED: ClassVar[type[BaseModel] | None] = FilmOrder

    printer: Name | None = None
    job_id: MessageId | None = None
    film: int = Field(default=1, ge=0, le=10_000, description="0: all, for a PDF")
    form: Literal["png", "pdf"] = "png"
    max_edge: int | None = Field(default=None, ge=64, le=20_000)


PRINT_REQUESTS = (AskPrinter, ActOnPrintJob, DrawFilm)


class ActOnQuarantined(Request):
    """Release an object from quarantine, or delete it: kept for the ingest that has it."""

    TYPE: ClassVar[str] = "ingest.quarantine.act.v1"

    receipt: ReceiptId
    action: Literal["release", "discard"]
    force: bool = Field(default=False, description="accept it as it is, if its UIDs can be told")
    version: int | None = Field(default=None, description="act on no other version of its row")
    requested_by: str = By


class AddWorklistEntry(Request):
    """Add a scheduled procedure step. `sealed` is a `WorklistEntry`."""

    TYPE: ClassVar[str] = "ingest.worklist.add.v1"
    SEALED: ClassVar[type[BaseModel] | None] = WorklistEntry

    entry_id: MessageId | None = Field(
        default=None, description="of the entry: asked for again, it is not added again"
    )
    requested_by: str = By


class ChangeWorklistEntry(Request):
    """Change a scheduled procedure step. `sealed` is a `WorklistEntry`."""

    TYPE: ClassVar[str] = "ingest.worklist.change.v1"
    SEALED: ClassVar[type[BaseModel] | None] = WorklistEntry

    entry_id: MessageId
    version: int | None = Field(default=None, description="stale when it is another by now")
    requested_by: str = By


class RemoveWorklistEntry(Request):
    """Remove a scheduled procedure step."""

    TYPE: ClassVar[str] = "ingest.worklist.remove.v1"

    entry_id: MessageId
    version: int | None = Field(default=None, description="stale when it is another by now")
    requested_by: str = By


class ActOnWorkitem(Request):
    """Create a workitem, or do something with one (PS3.4 section CC.2). `sealed` is a `Payload`.

    The reply has the status of PS3.4 table CC.2.1-2 and its like as `status`, and the workitem.
    """

    TYPE: ClassVar[str] = "ingest.workitem.act.v1"
    SEALED: ClassVar[type[BaseModel] | None] = Payload

    action: Literal["create", "update", "change-state", "request-cancel"]
    sop_instance_uid: Uid | None = Field(
        default=None, description="of the workitem; left out when one is made: the payload's"
    )
    requester: str = Field(
        default="", max_length=16, description="AE title of who asks to cancel it"
    )
    requested_by: str = By


class ActOnSubscription(Request):
    """Subscribe an AE to reports, or do so no longer (PS3.4 section CC.2.3).

    `sealed` is a `Keys` when it subscribes to the filtered worklist. The reply is as of
    `ActOnWorkitem`.
    """

    TYPE: ClassVar[str] = "ingest.workitem.subscription.act.v1"
    SEALED: ClassVar[type[BaseModel] | None] = Keys

    action: Literal["subscribe", "unsubscribe", "suspend"]
    ae_title: AeTitle
    target: Uid = Field(description="a workitem, the worklist, or the filtered worklist")
    deletion_lock: bool = False
    requested_by: str = By


INGEST_REQUESTS = (
    ActOnQuarantined,
    AddWorklistEntry,
    ChangeWorklistEntry,
    RemoveWorklistEntry,
    ActOnWorkitem,
    ActOnSubscription,
)


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


class StartRetrieve(RetrieveFromRemote, Request):
    """The same of an API of an earlier release, which waits for the reply that the job is kept."""

    TYPE: ClassVar[str] = "transmit.retrieve.start.v1"


class ActOnRetrieve(Request):
    """Try a retrieve job again that has ended, or cancel one."""

    TYPE: ClassVar[str] = "transmit.retrieve.act.v1"

    job_id: MessageId
    action: Literal["retry", "cancel"]
    requested_by: str = By


class ActOnMigration(Request):
    """Let a migration rest, go on or end, or have what did not come tried once more."""

    TYPE: ClassVar[str] = "transmit.migration.act.v1"

    job_id: MessageId
    action: Literal["retry", "cancel", "pause", "resume"]
    requested_by: str = By


class BringFirst(Request):
    """Have some of a migration come before all else. `sealed` is a `FirstOrder`."""

    TYPE: ClassVar[str] = "transmit.migration.first.v1"
    SEALED: ClassVar[type[BaseModel] | None] = FirstOrder

    job_id: MessageId
    requested_by: str = By


class ActOnTagJob(Request):
    """Let a job that follows a change of the indexed tags rest, go on, begin again, or end."""

    TYPE: ClassVar[str] = "index.tag_job.act.v1"

    job_id: MessageId
    action: Literal["retry", "cancel", "pause", "resume"]
    requested_by: str = By


METADATA_REQUESTS = (ActOnTagJob,)
REMOTE_REQUESTS = (
    QueryRemote,
    QueryWorklist,
    CreateProcedureStep,
    SetProcedureStep,
    StartRetrieve,
    ActOnRetrieve,
    ActOnMigration,
    BringFirst,
)
