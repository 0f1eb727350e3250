"""From what a client calls an examination to the study that is meant."""

from starlette.requests import Request

from darkroom_api.http.parts import parts_of
from darkroom_api.studies.named import only
from darkroom_common.index.identity import StudyName, studies_named


async def study_meant(request: Request, exam_id: str) -> StudyName:
    """Return the study that an accession number or a StudyInstanceUID stands for.

    Raises:
        ApiError: 404; or 409 with the candidates, when it stands for several.
    """
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        found = await studies_named(db, parts.keys, parts.blind, [exam_id])
    return only(found[exam_id])
