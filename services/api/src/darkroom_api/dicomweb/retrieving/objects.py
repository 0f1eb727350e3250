"""WADO-RS: studies, series and instances (PS3.18 section 10.4.1.1.1).

Objects are answered as they are stored where the client accepts that; otherwise in the first of the
transfer syntaxes that it names into which they can be made without loss, else 406. A client that
names none gets the stored one, where PS3.18 section 8.7.3 has Explicit VR Little Endian as the
default (docs/adr says why).
"""

from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.dicomweb.accept import MULTIPART, MediaRange, accepted
from darkroom_api.dicomweb.address import in_path, stored
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.retrieving.streaming import (
    DICOM,
    dicom_type,
    object_chunks,
    object_parts,
    parts_length,
)
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import not_acceptable
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import begin
from darkroom_api.rendering.negotiation import MADE_OBJECTS, object_syntaxes
from darkroom_api.rendering.streams import transcoded_object, transcoded_objects
from darkroom_common.index.rows import StoredInstance

MULTIPART_DICOM: Final = f'{MULTIPART}; type="{DICOM}"'
MULTIPART_TYPE: Final = "multipart/related"


@dataclass(frozen=True)
class _Form:
    """How objects are answered.

    Attributes:
        multipart: or the one object by itself.
        wanted: for each object the transfer syntaxes to make, the best first; none: as stored.
    """

    multipart: bool
    wanted: list[tuple[str, ...]]

    @property
    def as_stored(self) -> bool:
        """Whether nothing has to be made."""
        return not any(self.wanted)


def _choose(ranges: list[MediaRange], instances: list[StoredInstance], *, single: bool) -> _Form:
    """Return how objects are answered.

    Raises:
        ApiError: 406.
    """
    syntaxes = {one.transfer_syntax_uid for one in instances}
    for wanted in ranges:
        multipart = wanted.takes_parts(DICOM)
        if not multipart and not (single and wanted.takes(DICOM)):
            continue
        # All ranges of the same kind together say which syntaxes are welcome.
        alike = [
            one for one in ranges if (one.takes_parts(DICOM) if multipart else one.takes(DICOM))
        ]
        made = {syntax: object_syntaxes(alike, syntax) for syntax in syntaxes}
        found = [made[one.transfer_syntax_uid] for one in instances]
        possible = [one for one in found if one is not None]
        if len(possible) == len(found):
            return _Form(multipart, possible)
    offered = [*MADE_OBJECTS, *sorted(syntaxes.difference(MADE_OBJECTS))]
    raise not_acceptable([f"{MULTIPART_DICOM}; transfer-syntax={syntax}" for syntax in offered])


async def retrieve(request: Request) -> Response:
    """Retrieve the objects of a study, a series or one instance, as stored or transcoded."""
    instances = await stored(request)
    store = parts_of(request.scope).store
    single = "instance" in request.path_params
    form = _choose(accepted(request), instances, single=single)
    if not form.as_stored:
        if form.multipart:
            return await transcoded_objects(request, instances, form.wanted)
        return await transcoded_object(request, instances[0], form.wanted[0])
    if form.multipart:
        framing = Framing(DICOM)
        chunks = await begin(object_parts(store, instances, framing), parts=2)
        content_type = framing.content_type
        length = parts_length(instances, framing)
    else:
        chunks = await begin(object_chunks(store, instances[0]))
        content_type = dicom_type(instances[0])
        length = instances[0].object_size
    headers = {"content-type": content_type, "content-length": str(length)}
    return StreamingResponse(chunks, headers=headers)


_STUDY: Final = "/dicom-web/studies/{study}"


def add(app: FastAPI) -> None:
    """Add the routes."""
    statuses = (401, 403, 404, 406, 503)
    for path, names in (
        (_STUDY, ["study"]),
        (_STUDY + "/series/{series}", ["study", "series"]),
        (_STUDY + "/series/{series}/instances/{instance}", ["study", "series", "instance"]),
    ):
        parameters = {"parameters": [in_path(name) for name in names]}
        kinds = [MULTIPART_TYPE, DICOM] if "instance" in names else [MULTIPART_TYPE]
        app.add_api_route(
            path,
            retrieve,
            name=f"retrieve_{names[-1]}",
            tags=["WADO-RS"],
            response_class=Response,
            responses={
                **body("The objects, as stored or in a transfer syntax that is named.", *kinds),
                **errors(*statuses, 429, 500),
            },
            openapi_extra=parameters,
        )
