"""What transmit is asked for and answers at once; a `Reply` tells the real outcome."""

from typing import ClassVar, Literal

from pydantic import Field

from darkroom_common.messages.base import MessageId, Request, Uid
from darkroom_common.specs.destinations import DestinationSpec, Name
from darkroom_common.specs.rules import RuleSpec

By = Field(default="", max_length=64, description="user name")


class PutDestination(Request):
    """Add a destination or change one. `sealed` holds the secret of a stow login, if it changes."""

    TYPE: ClassVar[str] = "transmit.destination.put.v1"

    name: Name
    destination: DestinationSpec
    only_new: bool = Field(default=False, description="conflict when there is one already")
    requested_by: str = By


class DeleteDestination(Request):
    """Remove a destination; a conflict while a rule names it or jobs wait for it."""

    TYPE: ClassVar[str] = "transmit.destination.delete.v1"

    name: Name
    requested_by: str = By


class EchoDestination(Request):
    """Test a destination: connect, negotiate, C-ECHO; nothing is sent."""

    TYPE: ClassVar[str] = "transmit.destination.echo.v1"

    name: Name


class PutRule(Request):
    """Add a routing rule or change one."""

    TYPE: ClassVar[str] = "transmit.rule.put.v1"

    name: Name
    rule: RuleSpec
    only_new: bool = False
    requested_by: str = By


class DeleteRule(Request):
    """Remove a routing rule; jobs that it has made stay."""

    TYPE: ClassVar[str] = "transmit.rule.delete.v1"

    name: Name
    requested_by: str = By


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


TRANSMIT_REQUESTS = (
    PutDestination,
    DeleteDestination,
    EchoDestination,
    PutRule,
    DeleteRule,
    DryRunRules,
    ActOnJob,
)
