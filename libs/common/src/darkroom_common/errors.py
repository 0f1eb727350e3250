"""The kinds of failure that callers tell apart.

Adapters translate what their library raises into one of these at the border; a handler or the
consumer then decides by kind, never by a library's exception class.
"""


class DarkroomError(Exception):
    """Base of every error that Darkroom raises on purpose."""


class PermanentError(DarkroomError):
    """Trying again cannot help: the message or the request itself is at fault."""


class TransientError(DarkroomError):
    """Trying again later may help; the attempt counts."""


class DependencyUnavailable(TransientError):
    """Something that everything needs (database, broker, store) is away.

    It says nothing about the message in hand, so it must not cost that message an attempt.
    """


class ConfigurationError(PermanentError):
    """A setting is missing or makes no sense. The text names the setting and what it takes."""


class Unhealthy(Exception):
    """A check failed; the text is shown to operators and holds neither PHI nor a secret."""
