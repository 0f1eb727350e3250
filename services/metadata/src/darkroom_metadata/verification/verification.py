"""Reading back: is what the store holds still what was received?

A check works in steps. Each looks at a few objects and keeps what it has seen in one transaction,
so that a run that is killed goes on where it was; at most the last step is done again.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.dicom.part10 import HEAD_LIMIT, FileMeta, decode_head
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.errors import PermanentError, Unhealthy
from darkroom_common.objects.store import ObjectMissing, ObjectStore, StoreUnavailable
from darkroom_common.objects.tiered import TieredStore
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import metadata as metrics
from darkroom_metadata.verification.expected import Run, next_contents, next_rows
from darkroom_metadata.verification.judgement import (
    LOOK_BYTES,
    Check,
    Expected,
    Finding,
    FindingKind,
    Pace,
    Seen,
    judge,
    judge_size,
)
from darkroom_metadata.verification.ledger import Ledger, Looked

log = get_logger(__name__)
CONTENTS_STEP: Final = 32
CONTENTS_SECONDS: Final = 5.0
"""A step over contents ends after so long, whatever it has done."""
ROWS_STEP: Final = 256
_AT_ONCE: Final = 16
_LEAST_SLEEP: Final = 0.02

DAMAGE: Final = (
    FindingKind.MISSING,
    FindingKind.ALTERED,
    FindingKind.WRONG_SIZE,
    FindingKind.UNREADABLE,
)


@dataclass
class Brake:
    """Holds the work to its pace. What is owed below 20 ms is slept with the next."""

    pace: Pace
    clock: Clock = SYSTEM_CLOCK
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def spend(self, amount: int) -> None:
        """Account for bytes that were read."""
        delay = self.pace.spend(amount, self.clock.monotonic())
        if delay >= _LEAST_SLEEP:
            await self.sleep(delay)


class Step(Protocol):
    """One of the checks."""

    check: Check

    async def advance(self, db: Connection, run: Run) -> tuple[Run, list[Finding]]:
        """Do one step; return the run, finished when there is nothing more, and what was found.

        Raises:
            StoreUnavailable: the store is away; that says nothing of any object.
        """
        ...


async def require_store(store: ObjectStore) -> None:
    """Make sure that it is the object and not the store that is away.

    Raises:
        StoreUnavailable: it is the store, or a directory on which nothing is mounted.
    """
    try:
        await store.check()
    except Unhealthy as error:
        raise StoreUnavailable(str(error)) from error
    if not await store.holds_anything():
        raise StoreUnavailable("object store: it is empty; is its volume mounted?")


@dataclass
class Contents:
    """Reads objects back, those that have waited longest first.

    Of two stores each is read by a check of its own. What a row says to lie in the one and the
    other one has is not read: it is the other one's turn.
    """

    store: ObjectStore
    ledger: Ledger
    brake: Brake
    check: Check = Check.CONTENTS
    other: ObjectStore | None = None
    """The other one of two stores."""

    @classmethod
    def of(cls, store: ObjectStore, ledger: Ledger, brake: Brake) -> "Contents":
        """Return what reads the store back, or the fast one of two."""
        if isinstance(store, TieredStore):
            return cls(store.fast, ledger, brake, other=store.slow)
        return cls(store, ledger, brake)

    @classmethod
    def of_slow(cls, store: TieredStore, ledger: Ledger, brake: Brake) -> "Contents":
        """Return what reads the slow one of two back."""
        return cls(store.slow, ledger, brake, Check.SLOW, other=store.fast)

    async def advance(self, db: Connection, run: Run) -> tuple[Run, list[Finding]]:
        """Read back a few objects; see `Step`."""
        in_slow = None if self.other is None else self.check is Check.SLOW
        batch = await next_contents(db, run, CONTENTS_STEP, in_slow=in_slow)
        if not batch:
            return await self.ledger.finish(db, run), []
        ends = self.brake.clock.monotonic() + CONTENTS_SECONDS
        read: list[Expected] = []
        elsewhere: list[Expected] = []
        findings: list[Finding] = []
        total = 0
        for expected in batch:
            seen = await self._seen(expected)
            if seen.whole_size is None and seen.readable:
                if await self._is_elsewhere(expected):
                    elsewhere.append(expected)
                    continue
                await require_store(self.store)
            total += expected.size if seen.sha256 else 0
            kind = judge(expected, seen)
            read.append(expected)
            if kind is not None:
                found = Finding(kind, expected.object_key, seen.whole_size, seen.sha256, expected)
                findings.append(found)
            if self.brake.clock.monotonic() >= ends:
                break
        bad = {one.object_key for one in findings}
        looked = Looked(
            cursor=(read or elsewhere)[-1].object_key,
            checked=len(read),
            bytes=total,
            well=tuple(one.object_key for one in read if one.object_key not in bad),
            settles=DAMAGE,
            read=tuple(read),
            elsewhere=tuple(elsewhere),
            findings=tuple(findings),
        )
        run, fresh = await self.ledger.save(db, run, looked)
        tell(self.check, looked, fresh)
        return run, findings

    async def _is_elsewhere(self, expected: Expected) -> bool:
        if self.other is None:
            return False
        try:
            await self.other.size(expected.object_key)
        except ObjectMissing:
            return False
        return True

    async def _seen(self, expected: Expected) -> Seen:
        """Look at an object; one that the store fails on twice while it is well is unreadable."""
        try:
            seen = await self._read_back(expected)
        except StoreUnavailable:
            await require_store(self.store)
            await self.brake.sleep(1.0)
            try:
                seen = await self._read_back(expected)
            except StoreUnavailable:
                await require_store(self.store)
                return Seen(None, readable=False)
        return seen

    async def _read_back(self, expected: Expected) -> Seen:
        await self.brake.spend(LOOK_BYTES)
        try:
            whole_size = await self.store.size(expected.object_key)
            if judge_size(expected, whole_size) is not None:
                return Seen(whole_size)
            return await self._digest(expected, whole_size)
        except ObjectMissing:
            return Seen(None)
        except PermanentError:  # a key that can be none
            return Seen(None, readable=False)

    async def _digest(self, expected: Expected, whole_size: int) -> Seen:
        """Read all of an object, a chunk at a time."""
        digest = hashlib.sha256()
        beginning = bytearray()
        seen: Seen | None = None
        async for chunk in self.store.stream(expected.object_key, fresh=True):
            await self.brake.spend(len(chunk))
            if seen is not None:
                await asyncio.to_thread(digest.update, chunk)
                continue
            beginning += chunk
            if len(beginning) < min(HEAD_LIMIT, whole_size):
                continue
            meta, offset = _head(bytes(beginning))
            start = offset if expected.data_set_offset is None else expected.data_set_offset
            if start is None:
                return Seen(whole_size)
            head_sha256 = hashlib.sha256(beginning[:start]).hexdigest()
            seen = Seen(whole_size, head=meta, data_set_offset=offset, head_sha256=head_sha256)
            await asyncio.to_thread(digest.update, bytes(beginning[start:]))
        if seen is None:  # it has become shorter since its size was asked for
            return Seen(whole_size)
        return replace(seen, sha256=digest.hexdigest())


@dataclass
class Rows:
    """Looks whether the object of every row is there and has its size; reads nothing."""

    store: ObjectStore
    ledger: Ledger
    brake: Brake
    check: Check = Check.ROWS

    async def advance(self, db: Connection, run: Run) -> tuple[Run, list[Finding]]:
        """Look at the objects of a few rows; see `Step`."""
        batch = await next_rows(db, run, ROWS_STEP)
        if not batch:
            return await self.ledger.finish(db, run), []
        sizes: list[int | None] = []
        elsewhere: list[Expected] = []
        for begin in range(0, len(batch), _AT_ONCE):
            some = batch[begin : begin + _AT_ONCE]
            found = await asyncio.gather(*(self._size(one.object_key) for one in some))
            sizes += [size for size, _ in found]
            elsewhere += [
                one
                for one, (size, in_slow) in zip(some, found, strict=True)
                if size not in (None, _UNKNOWN) and in_slow is not one.in_slow
            ]
            await self.brake.spend(LOOK_BYTES * len(some))
        for of in {one.in_slow for one, size in zip(batch, sizes, strict=True) if size is None}:
            store = self.store
            await require_store(store.slow if of and isinstance(store, TieredStore) else store)
        findings = [
            Finding(kind, expected.object_key, size, None, expected)
            for expected, size in zip(batch, sizes, strict=True)
            if size != _UNKNOWN and (kind := judge_size(expected, size)) is not None
        ]
        bad = {one.object_key for one in findings}
        looked = Looked(
            cursor=f"{'conflict' if batch[-1].is_conflict else 'instance'}:{batch[-1].row_id}",
            checked=len(batch),
            well=tuple(
                expected.object_key
                for expected, size in zip(batch, sizes, strict=True)
                if size != _UNKNOWN and expected.object_key not in bad
            ),
            settles=(FindingKind.MISSING, FindingKind.WRONG_SIZE),
            elsewhere=tuple(elsewhere),
            findings=tuple(findings),
        )
        run, fresh = await self.ledger.save(db, run, looked)
        tell(self.check, looked, fresh)
        return run, findings

    async def _size(self, key: str) -> tuple[int | None, bool]:
        """Return the size, and whether the slow store of two alone has it.

        None: it is missing; `_UNKNOWN`: only reading it will tell.
        """
        try:
            if not isinstance(self.store, TieredStore):
                return await self.store.size(key), False
            try:
                return await self.store.fast.size(key), False
            except ObjectMissing:
                return await self.store.slow.size(key), True
        except ObjectMissing:
            return None, False
        except PermanentError:  # a key that can be none
            return _UNKNOWN, False
        except StoreUnavailable:
            await require_store(self.store)
            return _UNKNOWN, False


_UNKNOWN: Final = -1


def _head(beginning: bytes) -> tuple[FileMeta | None, int | None]:
    try:
        return decode_head(beginning)
    except Unreadable:
        return None, None


def tell(check: Check, looked: Looked, fresh: list[Finding]) -> None:
    """Count a step, and log what is new in it."""
    damaged = len(looked.findings)
    metrics.VERIFIED.labels(check.value, "well").inc(max(0, looked.checked - damaged))
    metrics.VERIFIED.labels(check.value, "damaged").inc(damaged)
    metrics.VERIFIED_BYTES.inc(looked.bytes)
    metrics.RECONCILED.inc(len(looked.published))
    for finding in fresh:
        log.error(
            "object.damaged",
            kind=finding.kind.value,
            receipt=finding.receipt,
            object_key=finding.object_key,
            sop_instance_uid=finding.expected.sop_instance_uid if finding.expected else None,
        )
    for message in looked.published:
        log.warning("object.reconciled", receipt=message.receipt, object_key=message.object_key)
