"""Endpoints that serve several resources or kinds, with the types of one of them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any


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
