"""The name by which an examination is told."""

from typing import Final

from darkroom_common.index.identity import LONGEST

TAKEN: Final = frozenset(
    {"bulk/assign-physician", "bulk/update-status", "export", "filters", "search"}
)
"""What stands for something else in the path of a study."""
TAKEN_ENDS: Final = ("/recall",)
"""How a path ends that is of something of a study, and not of one of that name."""


def exam_id_of(study_instance_uid: str, accession_number: str) -> str:
    """Return the name by which a study is told: one that leads back to it, in a path as well.

    An accession number that is the path of something else (`search`), or that a client takes out of
    a path (`..`, RFC 3986 section 5.2.4), gives way to the StudyInstanceUID.
    """
    taken = accession_number in TAKEN or accession_number.endswith(TAKEN_ENDS)
    fits = 0 < len(accession_number) <= LONGEST and not taken
    dots = "." in accession_number and not {".", ".."}.isdisjoint(accession_number.split("/"))
    return accession_number if fits and not dots else study_instance_uid
