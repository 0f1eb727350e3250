"""Status codes that Darkroom answers, in one place (PS3.4 annex B.2.3, PS3.7 annex C)."""

from enum import IntEnum


class StoreStatus(IntEnum):
    """Answers to a C-STORE."""

    SUCCESS = 0x0000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    """The command names a SOP class that is no storage SOP class that is accepted here."""
    REFUSED_NOT_AUTHORISED = 0x0124
    """This AE may not store this."""
    REFUSED_OUT_OF_RESOURCES = 0xA700
    """No room, a failed sync, anything unexpected: the sender keeps its copy and tries again."""
    DATA_SET_DOES_NOT_MATCH = 0xA900
    """SOP class or instance UID of the command differ from the data set."""
    CANNOT_UNDERSTAND = 0xC000
    """The data set is not whole, or over a limit."""

    def __str__(self) -> str:
        """Return the four hexadecimal digits that the standard writes."""
        return f"{self.value:04X}"
