"""Types that pydantic takes too freely, and endpoints that serve several kinds with one's types."""

import datetime as dt
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BeforeValidator

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _day(value: Any) -> Any:
    if isinstance(value, dt.date) or (isinstance(value, str) and _DAY.fullmatch(value)):
        return value
    raise ValueError("it is no date YYYY-MM-DD")


def _moment(value: Any) -> Any:
    if isinstance(value, dt.datetime) or (isinstance(value, str) and _DAY.match(value)):
        return value
    raise ValueError("it is no time YYYY-MM-DDThh:mm:ss with its offset")


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
"""A time as RFC 3339 has it, and no count of seconds."""
Day = Annotated[dt.date, BeforeValidator(_day)]
"""A date as RFC 3339 has it, and no count of seconds."""


def typed(endpoint: Callable[..., Any], types: Mapping[str, Any]) -> Callable[..., Any]:
    """Return an endpoint whose parameters have these types, for FastAPI to read."""

    async def answer(**given: Any) -> Any:
        return await endpoint(**given)

    signature = inspect.signature(endpoint)
    parameters = [
        one.replace(annotation=types.get(one.name, one.annotation))
        for one in signature.parameters.values()
    ]
    changed = signature.replace(parameters=parameters)
    if "return" in types:
        changed = changed.replace(return_annotation=types["return"])
    answer.__dict__["__signature__"] = changed
    return answer
