"""What cannot be done with the pixels of an object. No text has PHI."""

from darkroom_common.errors import PermanentError


class Unconvertible(PermanentError):
    """An object, or a frame of it, cannot be made into what was asked for."""


class Unrenderable(PermanentError):
    """An image cannot be shown."""
