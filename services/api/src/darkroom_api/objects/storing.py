"""Has an object made by a worker, and stored by ingest as it comes out of there."""

import datetime as dt
import secrets
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from darkroom_api.dicomweb.storing.handover import Handover
from darkroom_api.http.errors import invalid
from darkroom_api.objects.exchange import MakeTask
from darkroom_api.objects.identity import Identity
from darkroom_api.objects.spec import Given
from darkroom_api.rendering.rendering import Rendering
from darkroom_common.stow.handover import Outcome


class Own(NamedTuple):
    """What an object is known by.

    Attributes:
        at: when it is made, in the zone of this host.
    """

    sop_instance_uid: str
    series_instance_uid: str
    at: dt.datetime


def own_of(given: Given, identity: Identity, one: Own) -> dict[str, Any]:
    """Return what an object says of itself and of its series, by keywords.

    Raises:
        ApiError: 422, its series is of another modality.
    """
    modality = given.of_modality()
    numbers = [number or 0 for number, _ in identity.series.values()]
    following = (max([0, *numbers]) + 1, modality)
    number, known = identity.series.get(one.series_instance_uid, following)
    if known != modality:
        where = "body.values" if given.PART else "body"
        raise invalid(f"{where}.series_instance_uid", "The series is of another modality.")
    day, hour = f"{one.at:%Y%m%d}", f"{one.at:%H%M%S}"
    found: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "InstanceCreationDate": day,
        "InstanceCreationTime": hour,
        "ContentDate": day,
        "ContentTime": hour,
        "SOPInstanceUID": one.sop_instance_uid,
        "SeriesInstanceUID": one.series_instance_uid,
        "SeriesNumber": number or 0,
        "Modality": modality,
        "InstanceNumber": given.instance_number,
    }
    if given.series_description:
        found["SeriesDescription"] = given.series_description
    return found | given.said()


async def store(
    rendering: Rendering, handover: Handover, task: MakeTask, body: list[bytes]
) -> Outcome:
    """Return what has become of an object.

    Args:
        rendering: makes it.
        handover: stores it.
        task: says what is to be made.
        body: of what; it is emptied.

    Raises:
        CannotMake, DecoderFailed: nothing can be made of it.
        NotTaken, DependencyUnavailable: somebody who is needed is away.
    """
    boundary = secrets.token_hex(16)
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    async with rendering.object(task, body) as made:
        body.clear()  # the worker has it
        return await handover.store(kind, "", _part(boundary, made.chunks))


async def _part(boundary: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    async for chunk in chunks:
        yield chunk
    yield f"\r\n--{boundary}--\r\n".encode()
