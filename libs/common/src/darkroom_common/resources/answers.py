"""What the writer of resources answers to requests to change them."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from darkroom_common.messages.base import Reply, Request
from darkroom_common.messages.resources import DeleteResource, PutResource
from darkroom_common.resources.resource import Refusal, Resource
from darkroom_common.seal import Seal


class Table(Protocol):
    """Where resources of one kind are kept; see `SpecTable`."""

    resource: Resource[Any]

    async def put(  # noqa: PLR0913 - all of a request
        self,
        name: str,
        spec: Any,
        *,
        by: str,
        only_new: bool = False,
        version: int | None = None,
        secret: str | None = None,
        most: int | None = None,
    ) -> bool:
        """Add or change; return whether it is new."""
        ...

    async def delete(self, name: str, *, by: str, version: int | None = None) -> None:
        """Remove one."""
        ...


def refused(error: Refusal) -> Reply:
    """Return the reply that says why something is not done."""
    return Reply.model_validate({"outcome": error.OUTCOME, "reason": str(error)})


class ResourceAnswers:
    """Changes resources as it is asked to.

    Args:
        tables: each with what is done after a change.
        seal: of secrets on their way.
    """

    def __init__(
        self, tables: Mapping[Table, Callable[[], None]], seal: Seal | None = None
    ) -> None:
        self._tables = {
            table.resource.type(verb): (table, changed)
            for table, changed in tables.items()
            for verb in ("put", "delete")
        }
        self._seal = seal

    async def answer(self, message: Request) -> Reply | None:
        """Do what is asked; return None for a request about something else.

        Raises:
            Refusal: it is not done, see `refused`.
        """
        if message.TYPE not in self._tables:
            return None
        table, changed = self._tables[message.TYPE]
        outcome = "done"
        match message:
            case PutResource():
                secret = None
                if message.sealed and self._seal is not None:
                    secret = str(self._seal.open(message.sealed, purpose=message.TYPE))
                new = await table.put(
                    message.name,
                    message.spec,
                    by=message.requested_by,
                    only_new=message.only_new,
                    version=message.version,
                    secret=secret,
                    most=message.most,
                )
                outcome = "created" if new else "done"
            case DeleteResource():
                await table.delete(message.name, by=message.requested_by, version=message.version)
        changed()
        return Reply.model_validate({"outcome": outcome})
