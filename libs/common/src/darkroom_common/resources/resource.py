"""What is declared of a resource, and why a change of one is refused."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, TypeVar

from pydantic import BaseModel

from darkroom_common.errors import PermanentError
from darkroom_common.specs.base import ResourceSpec
from darkroom_common.specs.destinations import Name

Key = str | int | datetime
S = TypeVar("S", bound=ResourceSpec)
NO_COLUMNS: Final[Mapping[str, str]] = {}
BY_NAME: Final[Mapping[str, type[Key]]] = {"name": str}


class Refusal(PermanentError):
    """A change that is not made, with the word of the `Reply` that says so."""

    OUTCOME: ClassVar[str]


class AlreadyThere(Refusal):
    """The name is taken."""

    OUTCOME = "conflict"


class NotThere(Refusal):
    """There is nothing of this name."""

    OUTCOME = "not-found"


class InUse(Refusal):
    """Another resource names it, or jobs wait for it."""

    OUTCOME = "conflict"


class Stale(Refusal):
    """It has been changed since whoever wants to change it has looked."""

    OUTCOME = "stale"


class NoRoom(Refusal):
    """There are as many as the licence is for."""

    OUTCOME = "no-room"


class Unreadable(Refusal):
    """It is stored in words that this version does not know, and is not in use."""

    OUTCOME = "invalid"


@dataclass(frozen=True)
class Reference(Generic[S]):
    """Names in a spec that must be there."""

    to: "Resource[Any]"
    names: Callable[[S], Iterable[str]]


class NoState(BaseModel):
    """No columns beside the spec."""


@dataclass(frozen=True)
class Use:
    """What keeps a resource from being removed."""

    query: str
    """SQL that tells whether there is such, of the name $1."""
    reason: str


@dataclass(frozen=True, eq=False)
class Resource(Generic[S]):
    """A declaration. Names on the wire follow from `schema` and `kind`.

    Attributes:
        schema: of its table, whose writer answers its messages.
        kind: its table, its field in the Put message, its word in the change log.
        title: what people call it.
        path: where REST has it.
        reads: the permission to look at it.
        writes: the permission to change it.
        tag: of its routes.
        state: columns beside the spec that REST shows.
        key: the type of its name.
        order: columns of lists, all of them unique together.
        in_path: its name in paths.
        secret: whether there is a sealed one in a column.
        identified: whether it has an id, which another one of the same name has not.
        copied: columns that copy a part of the spec, as SQL on the spec $2.
        references: what it names.
        uses: what names it.
    """

    schema: str
    kind: str
    spec: type[S]
    title: str
    path: str
    reads: str
    writes: str
    tag: str
    state: type[BaseModel] = NoState
    key: Any = Name
    order: Mapping[str, type[Key]] = field(default_factory=lambda: BY_NAME)
    in_path: str = "{name}"
    secret: bool = False
    identified: bool = False
    copied: Mapping[str, str] = field(default_factory=lambda: NO_COLUMNS)
    references: tuple[Reference[S], ...] = ()
    uses: tuple[Use, ...] = ()

    @property
    def table(self) -> str:
        """Its table, with the schema."""
        return f"{self.schema}.{self.kind}"

    @property
    def secret_purpose(self) -> str:
        """What its secret is sealed for."""
        return f"{self.kind} secret"

    def type(self, verb: str) -> str:
        """Return the type of a message."""
        return f"{self.schema}.{self.kind}.{verb}.v1"

    def missing(self) -> NotThere:
        """Return what is raised when there is none of a name."""
        return NotThere(f"there is no {self.title} of this name")
