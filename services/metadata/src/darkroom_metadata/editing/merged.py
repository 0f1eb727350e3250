"""Patients who were merged: whose id is another's from then on, for what comes later as well.

A merge is kept when its last study is done. A study that is filed under the former id afterwards
has a merge of its own follow, by whoever has asked for the first. It ends when somebody says again
that a study is of the former patient: by a move, a split, an edit or a merge to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from darkroom_common.messages.base import new_message_id
from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal
from darkroom_common.specs.edits import PURPOSE, Edit

# Whoever keeps a merge waits for those who are filing, and they for it: none is passed over.
_KEEPING: Final = "SELECT pg_advisory_xact_lock(hashtext('index.merged_patient'))"
_FILING: Final = "SELECT pg_advisory_xact_lock_shared(hashtext('index.merged_patient'))"
_FOLLOW: Final = (  # study_pkey, patient_pkey, merged_patient_pkey, edit_merges
    "INSERT INTO index.edit (id, action, sealed, requested_by, merged_key)"
    " SELECT $2 || '.m' || min(s.id), 'merge', m.sealed, m.by, m.patient_key FROM index.study s"
    " JOIN index.patient p ON p.id = s.patient_id"
    " JOIN index.merged_patient m ON m.patient_key = p.patient_key"
    " WHERE s.id = ANY($1::bigint[]) GROUP BY m.patient_key"
    " ON CONFLICT (merged_key) WHERE merged_key IS NOT NULL AND state = 'PENDING' DO NOTHING"
)
_KEEP: Final = (  # merged_patient_pkey
    "INSERT INTO index.merged_patient (patient_key, target_key, sealed, by)"
    " VALUES ($1, $2, $3, $4) ON CONFLICT (patient_key) DO UPDATE SET at = clock_timestamp(),"
    " target_key = excluded.target_key, sealed = excluded.sealed, by = excluded.by"
)
_LED_HERE: Final = (  # merged_patient_target
    "SELECT patient_key, sealed, by FROM index.merged_patient WHERE target_key = $1 FOR UPDATE"
)
_FIND: Final = "SELECT sealed FROM index.merged_patient WHERE patient_key = $1"
_END: Final = "DELETE FROM index.merged_patient WHERE patient_key = $1"


async def follow_merges(db: Connection, studies: Sequence[int]) -> None:
    """Have studies merged that were filed under an id which is another patient's."""
    await db.execute(_FILING)
    await db.execute(_FOLLOW, sorted(set(studies)), new_message_id())


async def begin_keeping(db: Connection) -> None:
    """Wait, until the end of the transaction, until all that was being filed can be seen."""
    await db.execute(_KEEPING)


@dataclass(frozen=True)
class Merge:
    """One patient is another one from now on.

    Attributes:
        edit: what is to be done with their studies.
        source: key of the patient who is no more.
        target: key of the other one.
        by: who has asked for it.
    """

    edit: Edit
    source: bytes
    target: bytes
    by: str


async def keep_merge(db: Connection, seal: Seal, merge: Merge) -> None:
    """Keep a merge, after `begin_keeping`; what led to the one leads on to the other."""
    for row in await db.fetch(_LED_HERE, merge.source):
        earlier = Edit.model_validate(seal.open(row["sealed"], purpose=PURPOSE))
        onward = _sealed(seal, earlier.model_copy(update={"target": merge.edit.target}))
        await db.execute(_KEEP, row["patient_key"], merge.target, onward, row["by"])
    await db.execute(_END, merge.target)
    sealed = _sealed(seal, merge.edit)
    await db.execute(_KEEP, merge.source, merge.target, sealed, merge.by)


async def find_merge(db: Connection, seal: Seal, patient: bytes) -> Edit | None:
    """Return the merge of the id of a patient as it is now; None when it has ended."""
    sealed = await db.fetchval(_FIND, patient)
    if sealed is None:
        return None
    return Edit.model_validate(seal.open(sealed, purpose=PURPOSE))


async def end_merge(db: Connection, patient: bytes) -> None:
    """Let an id be of its former patient again: somebody says that a study is theirs."""
    await db.execute(_END, patient)


def _sealed(seal: Seal, edit: Edit) -> str:
    return seal.seal(edit.model_dump(), purpose=PURPOSE)
