"""What is told of a dead letter, and what becomes of it: never what it says."""

import datetime as dt
import re
import uuid
from functools import cache
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, Field

from darkroom_common.messages.earlier import EARLIER
from darkroom_common.messages.registry import MESSAGE_TYPES
from darkroom_common.postgres.listing import Key, Order
from darkroom_common.postgres.pool import Connection

State = Literal["HELD", "REPLAYING", "REPLAYED", "DISCARDED"]
_KEYS: Final[dict[str, type[Key]]] = {"died_at": dt.datetime, "letter_id": str}
ORDERS: Final = {"-died_at": Order(_KEYS, descending=True), "died_at": Order(_KEYS)}
COLUMNS: Final = (
    "SELECT id::text AS letter_id, queue, type, message_id, reason, attempts, died_at, kept_at,"
    " state, version, changed_by, changed_at FROM api.dead_letter"
)
_ONE: Final = (
    "SELECT id::text AS letter_id, queue, type, message_id, reason, attempts, died_at, kept_at,"
    " state, version, changed_by, changed_at, body, trace FROM api.dead_letter WHERE id = $1"
)
_CHANGE: Final = """
    UPDATE api.dead_letter SET state = $2, changed_by = $3, changed_at = now(),
        body = CASE WHEN $2 = 'DISCARDED' THEN NULL ELSE body END, version = version + 1
    WHERE id = $1 AND state = 'HELD' RETURNING version
"""
_MANY: Final = """
    UPDATE api.dead_letter SET state = $2, changed_by = $3, changed_at = now(),
        body = CASE WHEN $2 = 'DISCARDED' THEN NULL ELSE body END, version = version + 1
    WHERE id IN (
        SELECT id FROM api.dead_letter WHERE state = 'HELD' AND queue = $1
        ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED
    )
"""
_ID_FIELD: Final = re.compile(r"^[a-z_]*(_id|_uid|_uids|receipt)$")
_ID: Final = re.compile(r"^([0-9.]{1,64}|[0-9a-f-]{32,36}|[0-9]{1,19})$")
_MESSAGE_ID: Final = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_MOST_IDS: Final = 100


class DeadLetter(BaseModel):
    """A message that was given up."""

    letter_id: str
    queue: str = Field(description="that it died in, and goes back to")
    type: str = Field(description="of docs/messages.md; empty for one that is not known")
    message_id: str
    reason: str
    attempts: int = Field(description="that have failed before it was given up")
    died_at: dt.datetime
    kept_at: dt.datetime = Field(description="when it was taken from RabbitMQ")
    state: State
    version: int
    changed_by: str = Field(description="who has replayed or discarded it")
    changed_at: dt.datetime | None


class DeadLetterDetail(DeadLetter):
    """The same with what it is about."""

    size: int | None = Field(description="bytes of its body; null when that is gone")
    ids: dict[str, list[str]] = Field(
        description="the UIDs and ids that it names, by field, 100 at most; nothing else is shown"
    )
    items: int | None = Field(description="of a message about many objects")
    trace_id: str | None


def shown(row: Any) -> dict[str, Any]:
    """Return what is shown of a row in a list."""
    found = dict(row)
    known = found["type"] in MESSAGE_TYPES or found["type"] in EARLIER
    found["type"] = found["type"] if known else ""
    if not _MESSAGE_ID.match(found["message_id"]):
        found["message_id"] = ""
    return found


def detail(row: Any) -> dict[str, Any]:
    """Return what is shown of one."""
    found = shown(row)
    body, trace = found.pop("body"), orjson.loads(found.pop("trace"))
    content = _content(body)
    items = content.get("items")
    parent = str(trace.get("traceparent", "")).split("-")
    return DeadLetterDetail.model_validate(
        {
            **found,
            "size": None if body is None else len(body),
            "ids": ids_of(content, id_fields(found["type"])),
            "items": len(items) if isinstance(items, list) else None,
            "trace_id": parent[1] if len(parent) > 1 and _ID.match(parent[1]) else None,
        }
    ).model_dump()


def _content(body: bytes | None) -> dict[str, Any]:
    try:
        content = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


@cache
def id_fields(type_: str) -> frozenset[str]:
    """Return the fields of a type of message, and of its items, that hold UIDs and ids."""
    cls = MESSAGE_TYPES.get(type_)
    if cls is None:
        return frozenset()
    schema = cls.model_json_schema()
    models = [schema, *schema.get("$defs", {}).values()]
    names = {name for model in models for name in model.get("properties", {})}
    return frozenset(name for name in names if _ID_FIELD.match(name))


def ids_of(content: dict[str, Any], names: frozenset[str]) -> dict[str, list[str]]:
    """Return what a message has in these fields, as far as it can be nothing but an id."""
    found: dict[str, list[str]] = {}
    left = _MOST_IDS
    items = content.get("items")
    for one in (content, *(items if isinstance(items, list) else ())):
        if not isinstance(one, dict):
            continue
        for name, value in one.items():
            if name not in names:
                continue
            for text in value if isinstance(value, list) else [value]:
                if left and isinstance(text, str) and _ID.match(text):
                    known = found.setdefault(name, [])
                    if text not in known:
                        known.append(text)
                        left -= 1
    return found


async def find(db: Connection, letter_id: str) -> Any | None:
    """Return a row; None for an id that is none."""
    try:
        key = uuid.UUID(letter_id)
    except ValueError:
        return None
    return await db.fetchrow(_ONE, key)


async def change(db: Connection, letter_id: str, state: State, by: str) -> bool:
    """Replay or discard one that is held; tell whether it was."""
    return await db.fetchval(_CHANGE, uuid.UUID(letter_id), state, by) is not None


async def change_some(db: Connection, queue: str, state: State, by: str, most: int) -> int:
    """Replay or discard up to so many that are held of a queue; return how many it were."""
    done: str = await db.execute(_MANY, queue, state, by, most)
    return int(done.rpartition(" ")[2])
