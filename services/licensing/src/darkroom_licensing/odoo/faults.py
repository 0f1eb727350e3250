"""What keeps Odoo from answering. The texts are for operators and hold no key."""

from darkroom_common.errors import DarkroomError, TransientError


class OdooUnreachable(TransientError):
    """It did not answer in time, not at all, or not as Odoo does."""


class NotServed(DarkroomError):
    """It does not speak this protocol."""


class KeyRefused(DarkroomError):
    """It does not take the API key, or not from this user."""


class OdooRefused(DarkroomError):
    """It has answered that it does not do this."""


class NotNow(TransientError):
    """A try that may go better the next time; see `wire`."""
