"""The ways in which work at a print job ends before its last film."""

from darkroom_common.messages.events import PrintState


class Lost(Exception):
    """The job is not ours any more: cancelled, or another process has it."""


class Stopping(Exception):
    """The process ends; the job goes on in another."""


class Ended(Exception):
    """The job ends here, for a reason in words."""

    def __init__(self, state: PrintState, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason
        self.transient = transient
