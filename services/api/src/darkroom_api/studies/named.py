"""The one study that the name of an examination stands for."""

from typing import Final

from darkroom_api.http.errors import ApiError, Code, study_not_found
from darkroom_common.index.identity import StudyName

AMBIGUOUS: Final = "Several studies have this accession number: name one by its StudyInstanceUID."


def only(found: list[StudyName]) -> StudyName:
    """Return the study, if there is one and no other.

    Raises:
        ApiError: 404, 409.
    """
    if not found:
        raise study_not_found()
    if len(found) > 1:
        error = ApiError(409, Code.CONFLICT, AMBIGUOUS)
        error.more["candidates"] = [one.study_instance_uid for one in found]
        raise error
    return found[0]
