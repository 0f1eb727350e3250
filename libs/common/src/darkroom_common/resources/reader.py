"""Resources as whoever does not own them reads them: the API."""

from typing import Any, Final

import orjson
from pydantic import BaseModel

from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.resource import Resource, S
from darkroom_common.resources.stored import read_spec

_ROWS: Final = "SELECT COLUMNS FROM TABLE"
_COLUMNS: Final = ("name", "spec::text AS spec", "version", "created_at", "updated_at")


def rows_of(resource: Resource[S]) -> str:
    """Return the SELECT of what is shown, with the columns that it may be sorted by."""
    columns = dict.fromkeys([*_COLUMNS, *resource.state.model_fields, *resource.order])
    return _ROWS.replace("COLUMNS", ", ".join(columns)).replace("TABLE", resource.table)


async def read_one(
    db: Connection, resource: Resource[S], state: type[BaseModel], name: str
) -> dict[str, Any] | None:
    """Return one with its state, if there is one."""
    row = await db.fetchrow(rows_of(resource) + " WHERE name = $1", name)
    return None if row is None else shown(row, resource, state)


def shown(row: Any, resource: Resource[S], state: type[BaseModel]) -> dict[str, Any]:
    """Return what is stored; words that this version does not know are shown as they are."""
    spec, unreadable = read_spec(resource.spec, row["spec"])
    if unreadable:
        stored = orjson.loads(row["spec"])
        told = {name: stored[name] for name in resource.spec.model_fields if name in stored}
    else:
        told = spec.model_dump(mode="json")
    columns = dict(row)
    return {
        **told,
        **state.model_validate(columns).model_dump(mode="json"),
        **{name: columns[name] for name in ("name", "version", "created_at", "updated_at")},
        "unreadable": list(unreadable),
    }
