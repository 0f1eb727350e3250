"""Reading the second store back: has it still what was copied there?"""

import hashlib
from dataclasses import dataclass
from typing import Final

import asyncpg

from darkroom_common.errors import PermanentError
from darkroom_common.objects.store import ObjectStore, StoreUnavailable
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.verification.expected import Run, expected_of
from darkroom_metadata.verification.judgement import LOOK_BYTES, Check, Finding, FindingKind
from darkroom_metadata.verification.ledger import Ledger, Looked
from darkroom_metadata.verification.verification import (
    CONTENTS_SECONDS,
    CONTENTS_STEP,
    Brake,
    require_store,
    tell,
)

_NEXT: Final = (  # replicated_verified
    "SELECT object_key, sha256, size FROM index.replicated WHERE verified_at < $1"
    " ORDER BY verified_at, object_key LIMIT $2"
)
_READ: Final = (
    "UPDATE index.replicated SET verified_at = clock_timestamp() WHERE object_key = ANY($1)"
)


@dataclass
class Replica:
    """Reads the objects of the second store back, those that have waited longest first."""

    store: ObjectStore
    ledger: Ledger
    brake: Brake
    check: Check = Check.REPLICA

    async def advance(self, db: Connection, run: Run) -> tuple[Run, list[Finding]]:
        """Read back a few objects; see `verification.Step`."""
        batch = await db.fetch(_NEXT, run.due, CONTENTS_STEP)
        if not batch:
            return await self.ledger.finish(db, run), []
        ends = self.brake.clock.monotonic() + CONTENTS_SECONDS
        read: list[asyncpg.Record] = []
        bad: dict[str, int] = {}
        for row in batch:
            size = await self._size_of_sound(row)
            if size != row["size"]:
                bad[row["object_key"]] = size
            read.append(row)
            if self.brake.clock.monotonic() >= ends:
                break
        if len(bad) == len(read):
            await require_store(self.store)
        rows = await expected_of(db, list(bad))
        findings = [
            Finding(FindingKind.REPLICA, key, None if size < 0 else size, None, rows[key])
            for key, size in bad.items()
            if key in rows
        ]
        looked = Looked(
            cursor=read[-1]["object_key"],
            checked=len(read),
            bytes=sum(row["size"] for row in read if row["object_key"] not in bad),
            well=tuple(row["object_key"] for row in read if row["object_key"] not in bad),
            settles=(FindingKind.REPLICA,),
            findings=tuple(findings),
        )
        await db.execute(_READ, [row["object_key"] for row in read])
        run, fresh = await self.ledger.save(db, run, looked)
        tell(self.check, looked, fresh)
        return run, findings

    async def _size_of_sound(self, row: asyncpg.Record) -> int:
        """Return how many bytes are there that are as they were copied; -1: none are."""
        digest, size = hashlib.sha256(), 0
        await self.brake.spend(LOOK_BYTES)
        try:
            async for chunk in self.store.stream(row["object_key"], fresh=True):
                await self.brake.spend(len(chunk))
                digest.update(chunk)
                size += len(chunk)
        except PermanentError:  # it is missing
            return -1
        except StoreUnavailable:
            await require_store(self.store)
            return -1
        return size if digest.digest() == row["sha256"] else -1
