"""The index in PostgreSQL: what is new, what came again, what is in conflict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from darkroom_common.messages.base import Message
from darkroom_common.messages.events import (
    IndexedItem,
    InstanceConflicted,
    InstancesIndexed,
    StoredItem,
)
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.conflicts.opening import open_beside, open_bytes
from darkroom_metadata.editing.merged import follow_merges
from darkroom_metadata.editing.repository import follow
from darkroom_metadata.indexing.item import Item
from darkroom_metadata.indexing.rows import RowWriter
from darkroom_metadata.studies.changes import revive_deleted
from darkroom_metadata.tagging.writer import TagWriter


@dataclass
class Outcome:
    """What a batch has done, and the messages that say so."""

    added: int = 0
    duplicates: int = 0
    conflicts: int = 0
    messages: list[tuple[Message, dict[str, str]]] = field(default_factory=list)


@dataclass(frozen=True)
class _Known:
    """What the index has under a SOP instance UID."""

    id: int
    sha256: str
    study: str
    series: str


async def lock_studies(db: Connection, studies: set[str]) -> None:
    """Let one writer at a time into a study; in order, so that no two wait for each other."""
    await db.execute(
        "SELECT pg_advisory_xact_lock(key) FROM"
        " (SELECT DISTINCT hashtextextended(uid, 0) AS key"
        "  FROM unnest($1::text[]) AS given (uid) ORDER BY key) AS ordered",
        sorted(studies),
    )


@dataclass(frozen=True)
class IndexRepository:
    """Writes batches. All of it happens in the caller's transaction."""

    rows: RowWriter
    tags: TagWriter | None = None

    async def add(self, db: Connection, items: Sequence[Item]) -> Outcome:
        """Add objects: new instances as rows, the same bytes again as a count, others as conflicts.

        Raises:
            LostRace: begin again in a new transaction.
        """
        outcome = Outcome()
        if not items:
            return outcome
        await lock_studies(db, {item.event.study_instance_uid for item in items})
        known = await self._known(db, {item.sop_instance_uid for item in items})
        fresh: dict[str, Item] = {}
        again: list[Item] = []
        for item in items:
            if item.sop_instance_uid in known or item.sop_instance_uid in fresh:
                again.append(item)
            else:
                fresh[item.sop_instance_uid] = item
        if fresh:
            made = await self.rows.insert(db, list(fresh.values()))
            outcome.messages += [(event, {}) for event in made.changed]
            outcome.added = len(fresh)
            if self.tags is not None:
                headers = {made.ids[uid]: item.found.header for uid, item in fresh.items()}
                await self.tags.add(db, headers)
            await follow(db, sorted(made.studies))
            await follow_merges(db, sorted(made.studies))
            outcome.messages += await open_beside(db, made.disagreements, made.ids)
            outcome.conflicts += len(made.disagreements)
            batches = InstancesIndexed.of([indexed(item) for item in fresh.values()])
            outcome.messages += [(batch, batch.trace) for batch in batches]
        if again:
            known |= await self._known(db, {item.sop_instance_uid for item in again} - set(known))
            await self._repeat(db, again, known, outcome)
        return outcome

    @staticmethod
    async def _known(db: Connection, uids: set[str]) -> dict[str, _Known]:
        rows = await db.fetch(
            # instance_sop_instance_uid_key
            "SELECT i.id, i.sop_instance_uid, encode(i.sha256, 'hex') AS sha256,"
            " s.study_instance_uid, e.series_instance_uid"
            " FROM index.instance i JOIN index.series e ON e.id = i.series_id"
            " JOIN index.study s ON s.id = e.study_id WHERE i.sop_instance_uid = ANY($1::text[])",
            sorted(uids),
        )
        return {
            row["sop_instance_uid"]: _Known(
                row["id"], row["sha256"], row["study_instance_uid"], row["series_instance_uid"]
            )
            for row in rows
        }

    async def _repeat(
        self, db: Connection, again: Sequence[Item], known: dict[str, _Known], outcome: Outcome
    ) -> None:
        """Count what came again; keep what came otherwise as a conflict, once for each object."""
        same: Counter[int] = Counter()
        for item in again:
            have = known[item.sop_instance_uid]
            event = item.event
            here = (have.sha256, have.study, have.series)
            if here == (event.sha256, event.study_instance_uid, event.series_instance_uid):
                same[have.id] += 1
                outcome.duplicates += 1
                continue
            opened = await open_bytes(db, have.id, item, self.rows.keys)
            if opened is None:
                outcome.duplicates += 1
            else:
                outcome.conflicts += 1
                outcome.messages += [(_conflicted(event), event.trace), (opened, event.trace)]
        await db.execute(
            "UPDATE index.instance i SET duplicates = i.duplicates + g.n"
            " FROM unnest($1::bigint[], $2::int[]) AS g (id, n) WHERE i.id = g.id",
            sorted(same),
            [same[number] for number in sorted(same)],
        )
        outcome.messages += [(event, {}) for event in await revive_deleted(db, sorted(same))]


def indexed(item: Item) -> IndexedItem:
    """Return what is told of an instance that is in the index."""
    event = item.event
    return IndexedItem(
        receipt=event.receipt,
        traceparent=event.traceparent,
        study_instance_uid=event.study_instance_uid,
        series_instance_uid=event.series_instance_uid,
        sop_instance_uid=event.sop_instance_uid,
        sop_class_uid=event.sop_class_uid,
        transfer_syntax_uid=event.transfer_syntax_uid,
        modality=item.found.modality,
        object_key=event.object_key,
        sha256=event.sha256,
        size=event.size,
        calling_ae_title=event.calling_ae_title,
        called_ae_title=event.called_ae_title,
        replicated=event.replicated,
    )


def _conflicted(event: StoredItem) -> InstanceConflicted:
    return InstanceConflicted(
        receipt=event.receipt,
        study_instance_uid=event.study_instance_uid,
        sop_instance_uid=event.sop_instance_uid,
        object_key=event.object_key,
        sha256=event.sha256,
        calling_ae_title=event.calling_ae_title,
    )
