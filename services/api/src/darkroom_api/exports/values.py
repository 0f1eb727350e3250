"""Values of a statement as JSON, on their way to the process that runs it."""

import base64
import datetime as dt
from collections.abc import Sequence
from typing import Any


def encoded(value: object) -> Any:
    """Return a bind parameter as JSON has it: what JSON lacks is an object that names its kind."""
    match value:
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case dt.time() | dt.date():
            return {type(value).__name__: value.isoformat()}
        case str() | int() | None:
            return value
        case Sequence():
            return [encoded(one) for one in value]
        case _:
            raise TypeError("no bind parameter of a search")


def plain(value: Any) -> Any:
    """Return the bind parameter again."""
    match value:
        case {"bytes": str(text)}:
            return base64.b64decode(text)
        case {"date": str(text)}:
            return dt.date.fromisoformat(text)
        case {"time": str(text)}:
            return dt.time.fromisoformat(text)
        case {"datetime": str(text)}:
            return dt.datetime.fromisoformat(text)
        case list():
            return [plain(one) for one in value]
        case _:
            return value
