"""A link of the chain over the audit log, and the rows that it names."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from darkroom_api.audit.entries import MAC_BYTES, AuditKeys, Row
from darkroom_api.audit.log import PURPOSE
from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal, Unsealable

NOTHING: Final = bytes(MAC_BYTES)
"""Stands for the code of the link before the first, and for that of a row that was not there."""
_ROWS: Final = "SELECT * FROM api.audit_log WHERE log_id = ANY($1::uuid[])"
COLUMNS: Final = tuple(one.name for one in fields(Row) if one.name != "phi")


@dataclass(frozen=True)
class Link:
    """A link: rows with their codes, and the code of the link before."""

    number: int
    linked_at: dt.datetime
    previous: bytes
    log_ids: tuple[uuid.UUID, ...]
    macs: bytes
    key_id: int
    mac: bytes

    @classmethod
    def of(cls, row: Any) -> "Link":
        """Return the link of a row of `api.audit_link`."""
        found = {field.name: row[field.name] for field in fields(cls)}
        return cls(**{**found, "log_ids": tuple(found["log_ids"])})

    def covered(self) -> bytes:
        """Return what its code is made over."""
        at = self.linked_at.astimezone(dt.UTC).isoformat(timespec="microseconds")
        head = f"{self.number} {self.key_id} {at} {len(self.log_ids)} ".encode()
        ids = b"".join(one.bytes for one in self.log_ids)
        return b"".join([head, self.previous, ids, self.macs])

    def is_ours(self, keys: AuditKeys) -> bool:
        """Tell whether it is as it was made."""
        return (
            keys.has(self.key_id)
            and len(self.macs) == MAC_BYTES * len(self.log_ids)
            and keys.is_made("link", self.covered(), self.key_id, self.mac)
        )

    def codes(self) -> dict[uuid.UUID, bytes]:
        """Return the code of each row."""
        cut = (self.macs[at : at + MAC_BYTES] for at in range(0, len(self.macs), MAC_BYTES))
        return dict(zip(self.log_ids, cut, strict=False))


@dataclass(frozen=True)
class Checkpoint:
    """Where the chain begins since its oldest end was removed."""

    number: int
    head: bytes
    removed_at: dt.datetime
    key_id: int
    mac: bytes

    def covered(self) -> bytes:
        """Return what its code is made over; not how many rows went, which is for people."""
        at = self.removed_at.astimezone(dt.UTC).isoformat(timespec="microseconds")
        return f"{self.number} {self.key_id} {at} ".encode() + self.head

    def is_ours(self, keys: AuditKeys) -> bool:
        """Tell whether it is as it was made."""
        return keys.has(self.key_id) and keys.is_made(
            "checkpoint", self.covered(), self.key_id, self.mac
        )


@dataclass(frozen=True)
class Stored:
    """A row as the table has it.

    Attributes:
        row: without what is sealed, when that cannot be opened.
        readable: whether it could.
    """

    row: Row
    readable: bool
    key_id: int
    mac: bytes

    def is_ours(self, keys: AuditKeys) -> bool:
        """Tell whether it is as it was written."""
        return (
            self.readable and keys.has(self.key_id) and keys.is_row(self.row, self.key_id, self.mac)
        )


def stored(row: Any, seal: Seal) -> Stored:
    """Return a row of `api.audit_log`, opened."""
    phi, readable = b"", True
    if row["phi"]:
        try:
            phi = seal.open_bytes(row["phi"], purpose=PURPOSE)
        except Unsealable:
            readable = False
    plain = Row(**{name: row[name] for name in COLUMNS}, phi=phi)
    return Stored(plain, readable, row["key_id"], row["mac"])


async def rows_of(db: Connection, ids: Sequence[uuid.UUID], seal: Seal) -> dict[uuid.UUID, Stored]:
    """Return those of some rows that are there."""
    return {row["log_id"]: stored(row, seal) for row in await db.fetch(_ROWS, ids)}
