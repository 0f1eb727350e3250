"""From what a client calls an examination to the study that is meant."""

from starlette.requests import Request

from darkroom_api.http.errors import ApiError, Code, study_not_found
from darkroom_api.http.parts import parts_of
from darkroom_common.index.identity import StudyName, studies_named

AMBIGUOUS = "Several studies have this accession number: name one by its StudyInstanceUID."


async def study_meant(request: Request, exam_id: str) -> StudyName:
    """Return the study that an accession number or a StudyInstanceUID stands for.

    Raises:
        ApiError: 404; or 409 with the candidates, when it stands for several.
    """
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        found = await studies_named(db, parts.keys, parts.blind, [exam_id])
    return only(found[exam_id])


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
