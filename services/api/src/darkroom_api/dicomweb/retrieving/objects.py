"""WADO-RS: studies, series and instances (PS3.18 section 10.4.1.1.1).

Objects are answered as they are stored where the client accepts that; otherwise in the first of the
transfer syntaxes that it names into which they can be made without loss, else 406. A client that
names none gets the stored one, where PS3.18 section 8.7.3 has Explicit VR Little Endian as the
default (docs/adr says why).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.accept import MULTIPART, MediaRange, accepted
from darkroom_api.dicomweb.address import dicomweb_url, in_path, instance_url, stored
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.retrieving.composite import Extent, Piece
from darkroom_api.dicomweb.retrieving.sending import (
    CONDITIONAL,
    boundary_of,
    etag_of,
    send_pieces,
    unless_known,
    validators,
)
from darkroom_api.dicomweb.retrieving.streaming import DICOM, dicom_type
from darkroom_api.dicomweb.retrieving.zipped import ZIP, prefers_zip, zipped
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import not_acceptable
from darkroom_api.rendering.negotiation import MADE_OBJECTS, object_syntaxes
from darkroom_api.rendering.streams import transcoded_object, transcoded_objects
from darkroom_common.index.rows import StoredInstance

MULTIPART_DICOM: Final = f'{MULTIPART}; type="{DICOM}"'
MULTIPART_TYPE: Final = "multipart/related"


@dataclass(frozen=True)
class ObjectForm:
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


def choose(
    ranges: list[MediaRange], instances: list[StoredInstance], *, single: bool
) -> ObjectForm:
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
            return ObjectForm(multipart, possible)
    offered = [*MADE_OBJECTS, *sorted(syntaxes.difference(MADE_OBJECTS))]
    kinds = [f"{MULTIPART_DICOM}; transfer-syntax={syntax}" for syntax in offered]
    raise not_acceptable([*kinds, ZIP])


async def retrieve(request: Request) -> Response:
    """Retrieve the objects of a study, a series or one instance, as stored or transcoded."""
    instances = await stored(request)
    ranges = accepted(request)
    single = "instance" in request.path_params
    if prefers_zip(ranges, instances):
        return await zipped(request, instances)
    return await send_objects(request, instances, choose(ranges, instances, single=single))


async def send_objects(
    request: Request, instances: Sequence[StoredInstance], form: ObjectForm
) -> Response:
    """Return objects in a form.

    Raises:
        ApiError: 406, 416, 500.
    """
    base = dicomweb_url(request)
    kind = f"{MULTIPART_DICOM}; {base}" if form.multipart else DICOM  # each part says where it is
    etag = etag_of(instances, kind, *(" ".join(one) for one in form.wanted))
    if not form.as_stored:
        if known := unless_known(request, etag):
            return known
        made: Response | None
        if form.multipart:
            made = await transcoded_objects(request, instances, form.wanted)
        else:
            made = await transcoded_object(request, instances[0], form.wanted[0])
        if made is None:
            return await send_objects(request, instances, replace(form, wanted=[()]))
        made.headers.update(validators(etag))
        return made
    if not form.multipart:
        one = instances[0]
        whole = Extent(one.object_key, 0, one.object_size)
        return await send_pieces(request, [whole], {"content-type": dicom_type(one)}, etag)
    framing = Framing(DICOM, boundary_of(etag))
    pieces: list[Piece] = []
    for number, one in enumerate(instances):
        where = instance_url(base, one)
        head = framing.head(
            dicom_type(one), first=number == 0, length=one.object_size, location=where
        )
        pieces += [head, Extent(one.object_key, 0, one.object_size)]
    pieces.append(framing.tail)
    return await send_pieces(request, pieces, {"content-type": framing.content_type}, etag)


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
        kinds = [MULTIPART_TYPE, ZIP, *([DICOM] if "instance" in names else [])]
        app.add_api_route(
            path,
            retrieve,
            name=f"retrieve_{names[-1]}",
            tags=["WADO-RS"],
            response_class=Response,
            responses={
                **body("The objects, as stored or in a transfer syntax that is named.", *kinds),
                **CONDITIONAL,
                **errors(*statuses, 412, 416, 429, 500),
            },
            openapi_extra=parameters,
        )
