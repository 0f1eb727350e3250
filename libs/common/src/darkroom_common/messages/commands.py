"""What is asked of the one service that owns the work: commands, one queue each."""

from typing import ClassVar, Final, Literal, Self

from pydantic import BaseModel, Field, model_validator

from darkroom_common.messages.base import Command, ConflictId, MessageId, Uid
from darkroom_common.specs.conflicts import Decision, Why
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.edits import Edit
from darkroom_common.specs.films import FilmOrder
from darkroom_common.specs.remote import MigrationSpec

Method = Literal["move", "get"]
_ID: Final = "of the one that was meant: another one of that name is not; empty: whichever has it"


class SendObjects(Command):
    """Send stored objects to a destination. Transmit keeps it as a job of its own."""

    TYPE: ClassVar[str] = "transmit.send.v1"

    job_id: MessageId
    destination: str = Field(min_length=1, max_length=64)
    destination_id: str = Field(default="", max_length=64, description=_ID)
    study_instance_uid: Uid | None = None
    series_instance_uid: Uid | None = None
    sop_instance_uids: tuple[Uid, ...] = ()
    priority: Literal["low", "medium", "high"] = "medium"
    requested_by: str = Field(default="", max_length=64, description="user name or rule name")
    originator: str = Field(
        default="", max_length=16, description="AE title of whoever has asked by C-MOVE"
    )
    originator_message_id: int = Field(default=0, ge=0, le=65_535, description="of that C-MOVE")
    most_moves: int = Field(
        default=0, ge=0, description="of the originator that may not be over, with this one; 0: any"
    )

    @model_validator(mode="after")
    def _names_objects(self) -> Self:
        if not (self.study_instance_uid or self.series_instance_uid or self.sop_instance_uids):
            raise ValueError("names a study, a series or instances")
        return self


class PrintFilm(Command):
    """Print images on film. Print keeps it as a job of its own.

    `sealed` is the `FilmOrder`, which may name a patient; without it, the other fields say it all.
    """

    TYPE: ClassVar[str] = "print.film.v1"
    SEALED: ClassVar[type[BaseModel] | None] = FilmOrder

    job_id: MessageId
    printer: str = Field(min_length=1, max_length=64)
    printer_id: str = Field(default="", max_length=64, description=_ID)
    layout: str = Field(description="Image Display Format, PS3.3 C.13.3, or a name")
    sop_instance_uids: tuple[Uid, ...] = Field(min_length=1)
    copies: int = Field(default=1, ge=1, le=100)
    requested_by: str = Field(default="", max_length=64)
    rule: str = Field(default="", max_length=64, description="that has made it, if one has")
    sealed: str = Field(default="", max_length=4 << 20, description="a FilmOrder; see seal.py")


class DeleteStudy(Command):
    """Take a study out of the index; the purge of its objects is deferred and audited."""

    TYPE: ClassVar[str] = "study.delete.v1"

    study_instance_uid: Uid
    requested_by: str = Field(default="", max_length=64)


class ChangeStudyStatus(Command):
    """Take a study to another state of its life; what cannot be done is dead-lettered."""

    TYPE: ClassVar[str] = "study.status.v1"

    study_instance_uid: Uid
    status: Literal["complete", "verified", "archived"]
    requested_by: str = Field(default="", max_length=64)


class ResolveConflict(Command):
    """Carry out an operator's decision about a conflict. Metadata keeps it as a job of its own.

    `sealed` is the `Decision`, which may name a patient; without it, there is nothing to say.
    """

    TYPE: ClassVar[str] = "conflict.resolve.v1"
    SEALED: ClassVar[type[BaseModel] | None] = Decision

    job_id: MessageId
    conflict_id: ConflictId
    action: Literal["promote", "discard", "keep", "merge", "move", "split"]
    version: int | None = Field(default=None, ge=1, description="of the conflict; None: any")
    requested_by: str = Field(default="", max_length=64, description="user name")
    sealed: str = Field(default="", max_length=16 << 10, description="a Decision; see seal.py")


class EditStudies(Command):
    """Change what is said of a patient or a study. Metadata keeps it as a job of its own.

    `sealed` is the `Edit`: what is to be said, which identifies a patient.
    """

    TYPE: ClassVar[str] = "study.edit.v1"
    SEALED: ClassVar[type[BaseModel] | None] = Edit

    job_id: MessageId
    action: Literal["edit", "merge", "move", "split"]
    study_instance_uid: Uid | None = Field(default=None, description="None: all of a patient's")
    requested_by: str = Field(default="", max_length=64, description="user name")
    sealed: str = Field(max_length=16 << 10, description="an Edit; see seal.py")


class RemoveStudy(Command):
    """Delete a study, or restore one that was deleted. Metadata keeps it as a job of its own.

    `sealed` is why, which may identify a patient.
    """

    TYPE: ClassVar[str] = "study.remove.v1"
    SEALED: ClassVar[type[BaseModel] | None] = Why

    job_id: MessageId
    action: Literal["delete", "restore"]
    study_instance_uid: Uid
    requested_by: str = Field(default="", max_length=64, description="user name")
    sealed: str = Field(default="", max_length=16 << 10, description="a Why; see seal.py")


class RecallStudy(Command):
    """Copy a study back from the slow store of two. Metadata keeps it as a job of its own."""

    TYPE: ClassVar[str] = "study.recall.v1"

    job_id: MessageId
    study_instance_uid: Uid
    requested_by: str = Field(default="", max_length=64, description="user name")


class RemovePart(Command):
    """Delete a series or an instance of a study, or restore one. Metadata keeps it as a job.

    `sealed` is why, which may identify a patient.
    """

    TYPE: ClassVar[str] = "study.remove_part.v1"
    SEALED: ClassVar[type[BaseModel] | None] = Why

    job_id: MessageId
    action: Literal["delete", "restore"]
    study_instance_uid: Uid
    series_instance_uid: Uid
    sop_instance_uid: Uid | None = Field(default=None, description="null: the whole series")
    requested_by: str = Field(default="", max_length=64, description="user name")
    sealed: str = Field(default="", max_length=16 << 10, description="a Why; see seal.py")


class ValidateLicence(Command):
    """Ask Odoo about the licence now, not at the next regular time."""

    TYPE: ClassVar[str] = "licence.validate.v1"

    requested_by: str = Field(default="", max_length=64)


class RetrieveFromRemote(Command):
    """Have objects of a destination retrieved. Transmit keeps it as a job of its own."""

    TYPE: ClassVar[str] = "transmit.retrieve.v1"

    job_id: MessageId
    remote: Name
    remote_id: str = Field(default="", max_length=64, description=_ID)
    study_instance_uid: Uid
    series_instance_uid: Uid | None = None
    sop_instance_uids: tuple[Uid, ...] = Field(default=(), max_length=500)
    method: Method = "move"
    requested_by: str = Field(default="", max_length=64, description="user name")


class StartMigration(Command):
    """Have studies of an earlier archive brought here. Transmit keeps it as a job of its own."""

    TYPE: ClassVar[str] = "transmit.migration.v1"

    job_id: MessageId
    source_id: str = Field(default="", max_length=64, description=_ID)
    spec: MigrationSpec
    requested_by: str = Field(default="", max_length=64, description="user name")
