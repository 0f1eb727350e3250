"""What becomes of a task that no worker has answered."""

from darkroom_common.errors import DarkroomError


class WorkerFault(DarkroomError):
    """A worker has not answered. It is gone; the next task gets another one."""


class WorkerCrashed(WorkerFault):
    """It ended while it worked at the task, or said more than it may."""


class WorkerTooSlow(WorkerFault):
    """It took longer than it may, and was ended."""


class WorkerGone(WorkerFault):
    """It ended before it took the task."""
