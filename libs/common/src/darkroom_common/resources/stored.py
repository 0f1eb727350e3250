"""A resource as it is stored, read by a version that may be older than what has stored it."""

from dataclasses import dataclass, field
from typing import Any, Generic

from pydantic import ValidationError

from darkroom_common.resources.resource import S


@dataclass(frozen=True)
class Stored(Generic[S]):
    """A resource as it is stored.

    Attributes:
        version: grows with every change.
        secret: opened; empty without.
        id: of this one, while there is any; empty for a resource without.
        unreadable: fields that this version does not understand. While there are any, `spec` is
            an empty one that is not enabled: a later word may well mean what must not be left out.
    """

    name: str
    spec: S
    version: int = 1
    secret: str = field(default="", repr=False)
    unreadable: tuple[str, ...] = ()
    id: str = ""

    def has(self, bound: str) -> bool:
        """Tell whether a job is of this one, by the id that it is bound to: none in old rows."""
        return bound in ("", self.id)


def read_spec(model: type[S], text: str) -> tuple[S, tuple[str, ...]]:
    """Return a stored spec, and the fields that this version does not understand."""
    try:
        return model.model_validate_json(text), ()
    except ValidationError as error:
        places = {".".join(str(part) for part in item["loc"]) for item in error.errors()}
    return idle(model), tuple(sorted(one or "spec" for one in places))


def idle(model: type[S]) -> S:
    """Return a spec that is not enabled and says nothing else."""
    made: Any = model.model_construct(enabled=False)
    spec: S = made
    return spec
