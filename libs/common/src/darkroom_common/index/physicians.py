"""The assigned physician of an examination: searched as a name of DICOM is, and no part of one."""

from typing import Final

from darkroom_common.index.fields import Field, Kept, Level

PHYSICIAN: Final = Field("AssignedPhysicianName", "", "PN", Level.STUDY, Kept.SEARCHABLE)
"""Of `api.examination`; its keyword keys the blind tokens, and is none of the standard's."""
