"""The names of an examination: which one is told, and the one study that a name stands for."""

from typing import Final

from darkroom_api.accounts.access import ACCESS
from darkroom_api.http.errors import ApiError, Code, study_not_found
from darkroom_common.index.identity import LONGEST, StudyName

_PATH: Final = "/api/v1/studies/"
_TAKEN: Final = frozenset(path.removeprefix(_PATH) for _, path in ACCESS if path.startswith(_PATH))
"""What stands there for something else, such as `search`."""
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


def exam_id_of(study_instance_uid: str, accession_number: str) -> str:
    """Return the name by which a study is told: one that leads back to it, in a path as well.

    An accession number that is the path of something else (`search`), or that a client takes out of
    a path (`..`, RFC 3986 section 5.2.4), gives way to the StudyInstanceUID.
    """
    fits = 0 < len(accession_number) <= LONGEST and accession_number not in _TAKEN
    dots = {".", ".."}.intersection(accession_number.split("/"))
    return accession_number if fits and not dots else study_instance_uid
