"""What ingest keeps that PHI_KEYS opens."""

from typing import Final

from darkroom_common.rekeying import Column, Sealed
from darkroom_common.specs.worklist.entries import ENTRY_PURPOSE, STEP_PURPOSE

COLUMNS: Final[tuple[Column, ...]] = (
    Sealed("worklist", "sealed", ENTRY_PURPOSE),
    Sealed("performed_step", "sealed", STEP_PURPOSE, row="sop_instance_uid"),
)
