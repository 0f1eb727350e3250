"""The instances of a study that an object refers to, as the index has them."""

import json
from typing import Final

from starlette.requests import Request

from darkroom_api.http.errors import invalid
from darkroom_api.http.parts import parts_of
from darkroom_api.objects.exchange import Reference
from darkroom_api.objects.spec import Given
from darkroom_common.index.rows import StoredInstance

_SAMPLES: Final = "00280002"


async def references_of(request: Request, given: Given, study: str) -> tuple[Reference, ...]:
    """Return the instances that are named, in their order.

    Raises:
        ApiError: 422, the study has no such instance.
    """
    reader = parts_of(request.scope).reader
    found: list[StoredInstance] = []
    for uid in given.instances():
        one = await reader.instance(uid)
        if one is None or one.study_instance_uid != study:
            raise invalid("body", "The study has no instance of a UID that is named.")
        found.append(one)
    samples: dict[int, int] = {}
    async for batch in reader.headers(found if given.NAMES_PIXELS else ()):
        samples |= {one.id: _samples(header) for one, header in batch}
    return tuple(
        Reference(
            sop_class_uid=one.sop_class_uid,
            sop_instance_uid=one.sop_instance_uid,
            series_instance_uid=one.series_instance_uid,
            rows=one.rows or 0,
            columns=one.columns or 0,
            samples=samples.get(one.id, 0),
        )
        for one in found
    )


def _samples(header: bytes) -> int:
    """Return the samples of a pixel that a header as JSON tells; 0 when it does not."""
    match json.loads(header or b"{}").get(_SAMPLES):
        case {"Value": [int(known), *_]}:
            return known
    return 0
