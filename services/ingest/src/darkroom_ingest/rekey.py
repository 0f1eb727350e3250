"""What ingest keeps that PHI_KEYS opens."""

from typing import Final

from darkroom_common.rekeying import Column, Sealed
from darkroom_common.specs.worklist.entries import ENTRY_PURPOSE, STEP_PURPOSE
from darkroom_common.specs.worklist.workitems import (
    FILTER_PURPOSE,
    REPORT_PURPOSE,
    WORKITEM_PURPOSE,
)

COLUMNS: Final[tuple[Column, ...]] = (
    Sealed("worklist", "sealed", ENTRY_PURPOSE),
    Sealed("workitem", "sealed", WORKITEM_PURPOSE, row="sop_instance_uid"),
    Sealed("workitem_report", "sealed", REPORT_PURPOSE),
    Sealed("subscription", "sealed", FILTER_PURPOSE),
    Sealed("performed_step", "sealed", STEP_PURPOSE, row="sop_instance_uid"),
)
