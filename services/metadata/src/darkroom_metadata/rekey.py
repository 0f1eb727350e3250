"""What the index keeps that PHI_KEYS opens."""

from typing import Final

from darkroom_common.rekeying import Column, Encrypted, Sealed
from darkroom_common.specs import conflicts, edits
from darkroom_common.specs.retention import REMOVAL_PURPOSE
from darkroom_metadata.replication.inbound import TOLD
from darkroom_metadata.replication.said import SAID

COLUMNS: Final[tuple[Column, ...]] = (
    Encrypted("patient"),
    Encrypted("study"),  # and what stands beside, its heirs
    Encrypted("series"),
    Encrypted("instance", "header"),
    Encrypted("conflict", "header"),
    Encrypted("study_edit"),
    Encrypted("study_change"),
    Encrypted("edited", "header", row="instance_id"),
    Encrypted("tagged"),
    Sealed("resolution", "sealed", conflicts.PURPOSE),
    Sealed("edit", "sealed", edits.PURPOSE),
    Sealed("merged_patient", "sealed", edits.PURPOSE, row="patient_key"),
    Sealed("removal", "sealed", REMOVAL_PURPOSE),
    Sealed("replication_said", "sealed", SAID),
    Sealed("replication_told", "sealed", TOLD),
)
