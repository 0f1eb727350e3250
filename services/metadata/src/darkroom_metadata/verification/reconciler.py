"""The reconciler: objects of the store that no row names, and how they come to have one.

Ingest stores before the indexer indexes, so that young objects are passed over. An object says all
that its event needs, so that the event is made again; its id is made from the key, and the
indexer's inbox takes it once however often it comes.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pydantic import ValidationError

from darkroom_common.dicom.walk import Unreadable
from darkroom_common.messages.events import StoredItem
from darkroom_common.objects.receipt import ReceiptReader
from darkroom_common.objects.store import Listed, ObjectMissing, ObjectStore, StoreUnavailable
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.verification.expected import Run, has_rows, unnamed
from darkroom_metadata.verification.judgement import (
    LOOK_BYTES,
    Check,
    Finding,
    FindingKind,
    is_settled,
    judge_orphan,
    reconciled_receipt,
)
from darkroom_metadata.verification.ledger import Ledger, Looked
from darkroom_metadata.verification.verification import Brake, require_store, tell

log = get_logger(__name__)
OBJECTS_STEP: Final = 256
_ABANDONED: Final = timedelta(days=1)
"""No process is at work at an object for so long."""


@dataclass
class Objects:
    """Looks for objects without a row, and with `repair` publishes them again."""

    store: ObjectStore
    ledger: Ledger
    brake: Brake
    grace: timedelta
    repair: bool = False
    check: Check = Check.OBJECTS
    _place: tuple[int, str] | None = None
    _listing: AsyncIterator[Listed] | None = None

    async def advance(self, db: Connection, run: Run) -> tuple[Run, list[Finding]]:
        """Look at the next objects of the listing; see `verification.Step`."""
        batch = await self._next(run)
        if not batch:
            if run.checked == 0 and await has_rows(db):
                await require_store(self.store)
            left = await self.store.forget_drafts(begun_before=self.brake.clock.now() - _ABANDONED)
            if left:
                log.info("store.drafts_removed", drafts=left)
            return await self.ledger.finish(db, run), []
        await self.brake.spend(LOOK_BYTES * len(batch))
        without = await unnamed(db, [one.key for one in batch])
        now = self.brake.clock.now()
        findings: list[Finding] = []
        published: list[StoredItem] = []
        for listed in batch:
            if listed.key not in without or not is_settled(listed.modified, now, self.grace):
                continue
            if not self.repair:
                findings.append(Finding(FindingKind.ORPHAN, listed.key, listed.size))
                continue
            try:
                finding, message = await self._examine(listed)
            except ObjectMissing:
                continue  # removed since it was listed
            findings.append(finding)
            if message is not None:
                published.append(message)
        looked = Looked(
            cursor=batch[-1].key,
            checked=len(batch),
            bytes=sum(one.whole_size or 0 for one in findings if one.sha256),
            settles=(FindingKind.ORPHAN, FindingKind.ALTERED, FindingKind.UNREADABLE),
            findings=tuple(findings),
            published=tuple(published),
        )
        run, fresh = await self.ledger.save(db, run, looked)
        self._place = (run.id, run.cursor)
        if published:
            self.ledger.outbox.wake()
        tell(self.check, looked, fresh)
        return run, findings

    async def _next(self, run: Run) -> list[Listed]:
        """Return the objects after the run's cursor; a listing goes on while it is in place."""
        if self._listing is None or self._place != (run.id, run.cursor):
            self._listing = self.store.list_keys(after=run.cursor)
        batch: list[Listed] = []
        async for listed in self._listing:
            batch.append(listed)
            if len(batch) == OBJECTS_STEP:
                return batch
        return batch

    async def _examine(self, listed: Listed) -> tuple[Finding, StoredItem | None]:
        """Read an orphan: what it is, and the event that has it indexed when it is sound."""
        reader = ReceiptReader()
        try:
            async for chunk in self.store.stream(listed.key, fresh=True):
                await self.brake.spend(len(chunk))
                await asyncio.to_thread(reader.feed, chunk)
            receipt = reader.finish(
                receipt_id=reconciled_receipt(listed.key), received_at=listed.modified
            )
            event = receipt.stored(listed.key)
        except (Unreadable, ValidationError):
            return Finding(FindingKind.UNREADABLE, listed.key, listed.size), None
        except StoreUnavailable:
            await require_store(self.store)
            return Finding(FindingKind.UNREADABLE, listed.key, listed.size), None
        kind = judge_orphan(listed.key, receipt.sha256)
        finding = Finding(kind, listed.key, listed.size, receipt.sha256)
        return finding, event if kind is FindingKind.ORPHAN else None
