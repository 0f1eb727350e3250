"""What transmit is asked for and answers at once; a `Reply` tells the real outcome."""

from typing import ClassVar, Literal

from pydantic import Field

from darkroom_common.messages.base import MessageId, Request, Uid
from darkroom_common.specs.destinations import Name

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


TRANSMIT_REQUESTS = (EchoDestination, DryRunRules, ActOnJob)
