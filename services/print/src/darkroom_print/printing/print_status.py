"""What printers answer: the status codes of PS3.4 annex H in words."""

from typing import Final

_MEANINGS: Final = {
    0x0105: "it does not know an attribute",
    0x0106: "it does not take the value of an attribute",
    0x0107: "it does not use an attribute",
    0x0110: "processing failure",
    0x0112: "it does not know the SOP instance",
    0x0115: "it does not take an argument",
    0x0116: "a value is out of its range, it uses the nearest",
    0x0117: "it does not take the SOP instance UID",
    0x0118: "it does not know the SOP class",
    0x0119: "the SOP instance is of another class",
    0x0120: "an attribute is missing",
    0x0121: "an attribute has no value",
    0x0123: "it does not know the action",
    0x0124: "not authorised",
    0x0211: "it does not know the operation",
    0x0213: "it has no resources left",
    0xB600: "it cannot allocate the memory asked for",
    0xB601: "it prints no films of a session together",
    0xB602: "the film session has no film with images",
    0xB603: "the film is empty",
    0xB604: "the image is larger than its box: it was made smaller",
    0xB605: "a density is out of its range: it uses its own",
    0xB609: "the image is larger than its box: it was cropped",
    0xB60A: "the image is larger than its box: it was decimated",
    0xC600: "the film session has no film box",
    0xC601: "its print queue is full",
    0xC602: "its print queue is full",
    0xC603: "the image is larger than its box",
    0xC604: "it cannot take the position of the image",
    0xC605: "it has too little memory for the image",
    0xC613: "the images together are larger than the film",
    0xC616: "a film before it has not been printed",
}
_TRANSIENT: Final = frozenset({0x0110, 0x0213, 0xC601, 0xC602, 0xC605, 0xC616})
_WARNINGS: Final = frozenset({0x0107, 0x0116, 0x0001})
_WARNING_CLASS: Final = 0xB  # Bxxx


def is_warning(status: int) -> bool:
    """Tell whether the service was done, with something to say (PS3.7 annex C.3)."""
    return status in _WARNINGS or status >> 12 == _WARNING_CLASS


def is_transient(status: int) -> bool:
    """Tell whether the same may be taken later."""
    return status in _TRANSIENT


def in_words(status: int) -> str:
    """Return a status for people: its four digits and what they mean."""
    return f"{status:04X}, {_MEANINGS.get(status, 'the standard has no words for it')}"
