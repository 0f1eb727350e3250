"""How values read on a page: the filters of the templates."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final

from darkroom_api.console.causes import cause
from darkroom_api.http.errors import ApiError
from darkroom_api.http.etags import named_version

_UNITS: Final = ("B", "KB", "MB", "GB", "TB")
_STEP: Final = 1000
_WITH_A_TENTH: Final = 10
_DATE: Final = 8
_TITLES: Final = {
    401: "Please sign in",
    403: "You may not see this",
    404: "There is nothing here",
    409: "This cannot be done now",
    412: "Somebody else has changed it meanwhile",
    429: "That was a little too often",
    503: "Something that this needs is away",
    504: "It takes too long",
}


def refusal(fault: ApiError) -> str:
    """Return the title of the page that says why there is no other."""
    return _TITLES.get(fault.status, "This did not work")


def person(name: str | None) -> str:
    """Return a name of DICOM (PS3.5 section 6.2.1.2) as people write it: `Doe, Jane Q`."""
    alphabetic = next((one for one in (name or "").split("=") if one.strip("^ ")), "")
    family, _, others = alphabetic.partition("^")
    rest = " ".join(part for part in others.split("^") if part.strip())
    return ", ".join(part for part in (family.strip(), rest) if part)


def day(text: str | None) -> str:
    """Return a date of DICOM, or one that is written so already, as ISO 8601 has it."""
    said = str(text or "")
    if len(said) == _DATE and said.isdigit():
        return f"{said[:4]}-{said[4:6]}-{said[6:]}"
    return said


def clock(text: str | None) -> str:
    """Return a time of DICOM (PS3.5 section 6.2) as hours and minutes."""
    said = str(text or "")
    return f"{said[:2]}:{said[2:4]}" if said[:4].isdigit() and len(said) >= len("hhmm") else said


def size(count: int | None) -> str:
    """Return a number of bytes in the unit that suits it."""
    left, unit = float(count or 0), _UNITS[0]
    for unit in _UNITS:
        if left < _STEP or unit == _UNITS[-1]:
            break
        left /= _STEP
    return f"{left:.0f} {unit}" if left >= _WITH_A_TENTH or unit == "B" else f"{left:.1f} {unit}"


def many(count: int, noun: str) -> str:
    """Return a number of things with their noun: `1 image`, `1,200 images`."""
    return f"{count:,} {noun if count == 1 or noun.endswith('series') else noun + 's'}"


def spoken(word: str | None) -> str:
    """Return a word of ours, such as `in_progress`, as a person says it."""
    return str(word or "").replace("_", " ").replace("-", " ").capitalize()


def tone(state: str | None) -> str:
    """Return the colour of a state: good, bad, busy or calm."""
    return _TONES.get(str(state or "").lower(), "calm")


_TONES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            *(
                "done",
                "completed",
                "complete",
                "verified",
                "archived",
                "printed",
                "ok",
                "up",
                "valid",
            ),
            *(
                "sent",
                "committed",
                "normal",
                "released",
                "replayed",
                "repaired",
                "resolved",
                "active",
            ),
        ),
        "good",
    ),
    **dict.fromkeys(
        (
            *("failed", "error", "dead", "damaged", "refused", "down", "unknown", "expired"),
            *("failure", "away", "held", "open", "discontinued"),
        ),
        "bad",
    ),
    **dict.fromkeys(
        (
            *("receiving", "running", "waiting", "pending", "queued", "in_progress", "sending"),
            *("processing", "printing", "acting", "retrying", "planning", "creating"),
            *("warning", "releasing", "discarding", "replaying", "retrieving", "resolving"),
        ),
        "busy",
    ),
}


def seen(one: Mapping[str, Any]) -> str:
    """Return the version of what has a name, as a form sends it back; one made anew has another."""
    return named_version({**one, "created_at": dt.datetime.fromisoformat(one["created_at"])})


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "seen": seen,
    "person": person,
    "day": day,
    "clock": clock,
    "size": size,
    "many": many,
    "spoken": spoken,
    "tone": tone,
    "cause": cause,
}
