"""Bodies of requests as values: JSON without what JSON should not have."""

import asyncio
import json
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from darkroom_common.specs.storable import Fault, first_fault

_SLOW: Final = 128 * 1024
_DIGITS: Final = 20
"""Of an integer; no field takes one of more, and long ones take long to read."""


class UnfitBody(HTTPException):
    """A body is not JSON, or holds what no field can take."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(422)
        self.fault = fault


class JsonRequest(Request):
    """A request whose JSON is read strictly (RFC 8259, and RFC 7493 on names and numbers)."""

    async def json(self) -> Any:
        """Return the value of the body.

        Raises:
            UnfitBody: see there.
        """
        body = await self.body()
        if len(body) > _SLOW:  # others go on meanwhile
            return await asyncio.to_thread(read_json, body)
        return read_json(body)


def read_json(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        UnfitBody: it is none, has a name twice, a number that is not finite or too large, text that
            cannot be kept, or is nested too deeply.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            parse_constant=_no_constant,
            parse_int=_integer,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise _unfit("it is nested too deeply") from None
    except ValueError:  # also of the text's encoding
        raise _unfit("it is not JSON") from None
    fault = first_fault(value)
    if fault is not None:
        raise UnfitBody(fault)
    return value


def _unfit(reason: str) -> UnfitBody:
    return UnfitBody(Fault((), reason))


def _no_constant(_: str) -> float:
    raise _unfit("NaN and Infinity are no numbers of JSON")


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise _unfit("it holds too large a number")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _unfit("a name is there twice")
    return found
