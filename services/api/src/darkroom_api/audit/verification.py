"""Whether the audit log is as it was written: each row by its code, all of them by the chain.

It goes along the chain, some links at a time, each step in a snapshot of its own; the log may be
written meanwhile. Every row of the table is either in a link, or waits for one, or was put in.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from darkroom_api.audit.anchor import Anchor, AnchorFile
from darkroom_api.audit.chain import checkpoint, is_in_chain
from darkroom_api.audit.entries import AuditKeys
from darkroom_api.audit.links import NOTHING, Checkpoint, Link, Stored, rows_of
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.seal import Seal

LINKS: Final = 10
"""Of a step; some thousand rows at most."""
_ROWS: Final = 5000
_LAST: Final = uuid.UUID(int=2**128 - 1)
_FIRST: Final = uuid.UUID(int=0)
_SNAPSHOT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
_LINKS: Final = "SELECT * FROM api.audit_link WHERE number > $1 ORDER BY number LIMIT $2"
_BETWEEN: Final = (
    "SELECT log_id FROM api.audit_log WHERE log_id > $1 AND log_id <= $2 ORDER BY log_id LIMIT $3"
)
_WAITING: Final = "SELECT log_id FROM api.audit_pending WHERE log_id = ANY($1::uuid[])"
_NOT_JOINED: Final = (
    "SELECT id FROM unnest($1::uuid[]) AS given (id)"
    " WHERE NOT EXISTS (SELECT FROM api.audit_link WHERE log_ids @> ARRAY[id])"
)


class Kind(StrEnum):
    """What is wrong."""

    CHANGED = "changed"  # a row is not as it was written
    REMOVED = "removed"  # a row is gone that the chain names
    INSERTED = "inserted"  # a row is there that no link names
    UNREADABLE = "unreadable"  # a key of the row, or of what is sealed in it, is not there
    LINK_CHANGED = "link_changed"
    LINKS_REMOVED = "links_removed"
    BEGINNING_REMOVED = "beginning_removed"  # not by retention
    END_REMOVED = "end_removed"  # the chain has had a link after its last one


@dataclass(frozen=True)
class Fault:
    """What is wrong with one row or link.

    Attributes:
        kind: see there.
        log_id: of the row, if it is a row's.
        link: the number of the link.
    """

    kind: Kind
    log_id: uuid.UUID | None = None
    link: int | None = None


@dataclass(frozen=True)
class Place:
    """How far verification is.

    Attributes:
        number: of the last link that was looked at; 0 at the beginning.
        mac: its code.
        checked: up to this id every row of the table was looked for in the chain.
    """

    number: int = 0
    mac: bytes = NOTHING
    checked: uuid.UUID = _FIRST


@dataclass
class Step:
    """What one step has found.

    Attributes:
        rows: that were checked.
        links: that were checked.
        faults: in the order of the chain.
        place: where to go on; None at the end.
        end: the last link that was checked.
    """

    rows: int = 0
    links: int = 0
    faults: list[Fault] = field(default_factory=list)
    place: Place | None = None
    end: Place = field(default_factory=Place)


class Verification:
    """Checks rows and chain.

    Args:
        database: where.
        keys: of the codes.
        seal: of what identifies patients in rows.
        file: with a link that the chain has had, outside of the database.
    """

    def __init__(
        self, database: Database, keys: AuditKeys, seal: Seal, file: AnchorFile | None = None
    ) -> None:
        self._database = database
        self._keys = keys
        self._seal = seal
        self._file = file

    async def step(self, place: Place, anchors: Sequence[Anchor] = ()) -> Step:
        """Check the next links, and the rows of the table up to them.

        Args:
            place: where to go on.
            anchors: links that the chain has had, too.

        Raises:
            DependencyUnavailable: the database is away.
            ConfigurationError: the file of the anchor cannot be read.
        """
        done = Step()
        kept = None if self._file is None else await asyncio.to_thread(self._file.read)
        anchors = [*anchors, *([] if kept is None else [kept])]
        async with self._database.transaction(readonly=True) as db:
            await db.execute(_SNAPSHOT)
            begun = await checkpoint(db)
            if begun is not None and begun.is_ours(self._keys) and begun.number > place.number:
                place = replace(place, number=begun.number, mac=begun.head)
            links = [Link.of(row) for row in await db.fetch(_LINKS, place.number, LINKS)]
            named: set[uuid.UUID] = set()
            for link in links:
                done.faults += self._joined(link, place, begun)
                await self._check_rows(db, link, done)
                named.update(link.log_ids)
                place = replace(place, number=link.number, mac=link.mac)
            done.links = len(links)
            is_last = len(links) < LINKS
            until = _LAST if is_last else max(place.checked, *named)
            await self._check_others(db, place.checked, until, named, done)
            done.end = replace(place, checked=until)
            done.place = None if is_last else done.end
            if is_last:
                await self._check_anchors(db, anchors, begun, done)
        return done

    def _joined(self, link: Link, before: Place, begun: Checkpoint | None) -> list[Fault]:
        faults = []
        if link.number != before.number + 1:
            first = before.number == 0 and begun is None
            kind = Kind.BEGINNING_REMOVED if first else Kind.LINKS_REMOVED
            faults.append(Fault(kind, link=before.number + 1))
        elif link.previous != before.mac:
            faults.append(Fault(Kind.LINK_CHANGED, link=before.number))
        if not self._keys.has(link.key_id):
            faults.append(Fault(Kind.UNREADABLE, link=link.number))
        elif not link.is_ours(self._keys):
            faults.append(Fault(Kind.LINK_CHANGED, link=link.number))
        return faults

    async def _check_rows(self, db: Connection, link: Link, done: Step) -> None:
        there = await rows_of(db, link.log_ids, self._seal)
        for log_id, code in link.codes().items():
            row = there.get(log_id)
            kind = Kind.REMOVED if row is None else self._wrong(row, code)
            if kind is not None:
                done.faults.append(Fault(kind, log_id, link.number))
        done.rows += len(there)

    def _wrong(self, row: Stored, code: bytes | None) -> Kind | None:
        if code is not None and row.mac != code:
            return Kind.CHANGED
        if not row.readable or not self._keys.has(row.key_id):
            return Kind.UNREADABLE
        return None if row.is_ours(self._keys) else Kind.CHANGED

    async def _check_others(
        self, db: Connection, after: uuid.UUID, until: uuid.UUID, named: set[uuid.UUID], done: Step
    ) -> None:
        """Look for each row of the table between two ids in the chain, and at those that wait."""
        while after < until:
            ids = [row["log_id"] for row in await db.fetch(_BETWEEN, after, until, _ROWS)]
            others = [one for one in ids if one not in named]
            if others:
                waiting = [row["log_id"] for row in await db.fetch(_WAITING, others)]
                for log_id, row in (await rows_of(db, waiting, self._seal)).items():
                    kind = self._wrong(row, None)
                    if kind is not None:
                        done.faults.append(Fault(kind, log_id))
                done.rows += len(waiting)
                rest = sorted(set(others) - set(waiting))
                missing = await db.fetch(_NOT_JOINED, rest) if rest else []
                done.faults += [Fault(Kind.INSERTED, row["id"]) for row in missing]
            if len(ids) < _ROWS:
                return
            after = ids[-1]

    async def _check_anchors(
        self, db: Connection, anchors: Sequence[Anchor], begun: Checkpoint | None, done: Step
    ) -> None:
        for anchor in anchors:
            if not await is_in_chain(db, anchor, begun, self._keys):
                done.faults.append(Fault(Kind.END_REMOVED, link=anchor.number))
                there = await rows_of(db, anchor.log_ids, self._seal)
                done.faults += [
                    Fault(Kind.REMOVED, one, anchor.number)
                    for one in anchor.log_ids
                    if one not in there
                ]
