"""Whose the studies of jobs are: lists of jobs name studies by their UIDs alone."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from darkroom_api.console.attributes import said, value
from darkroom_api.console.page import Page

_MOST: Final = 100


async def whose(page: Page, studies: Iterable[str | None]) -> dict[str, str]:
    """Return the names of patients by the UIDs of their studies, as far as one may see them.

    Args:
        page: asks REST, which keeps in the audit log that they were seen.
        studies: their UIDs; None and empty ones are passed over.
    """
    uids = sorted({one for one in studies if one})
    if not uids or not page.may("studies:read"):
        return {}
    found = await page.rest.get(
        "/dicom-web/studies", StudyInstanceUID=",".join(uids[:_MOST]), limit=_MOST
    )
    return {
        value(one, "StudyInstanceUID"): said(value(one, "PatientName")) or "(no name)"
        for one in found or ()
    }


def studies_of(found: Mapping[str, Any]) -> list[str | None]:
    """Return the UIDs of the studies that a list of REST names."""
    return [one["study_instance_uid"] for one in found["data"]]
