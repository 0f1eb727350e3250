"""WADO-RS: rendered images and thumbnails (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.5)."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.dicomweb.accept import accepted
from darkroom_api.dicomweb.address import dicomweb_url, in_path, instance_url, stored
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.retrieving.objects import MULTIPART_TYPE
from darkroom_api.dicomweb.retrieving.pixels import frame_numbers
from darkroom_api.dicomweb.retrieving.video import KINDS as VIDEOS
from darkroom_api.dicomweb.retrieving.video import send_video
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import body, errors, parameter
from darkroom_api.http.errors import ApiError, Code, bad_request, cannot_be_made, not_acceptable
from darkroom_api.http.etags import is_known
from darkroom_api.http.parts import parts_of
from darkroom_api.rendering import appearance as appearances
from darkroom_api.rendering.appearance import GIF, KINDS, InvalidParameter
from darkroom_api.rendering.exchange import Picture
from darkroom_api.rendering.negotiation import image_form
from darkroom_api.rendering.presentation.images import STATES, images_of
from darkroom_api.rendering.rendering import key_of
from darkroom_api.rendering.streams import told
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dicom.syntaxes import VIDEO
from darkroom_common.index.rows import StoredInstance

_PRIVATE: Final = "private, no-cache"
"""Whoever has asked may keep it, and asks by ETag whether it may still be shown."""
_LEFT_OUT: Final = "that cannot be rendered are left out, and named behind the last part"
_LOOK_SECONDS: Final = 3.0
_LOOK_BYTES: Final = 1 << 20
"""Of the images of a study or series that are rendered before the answer begins."""
_NO_WINDOW: Final = "A presentation state has a window of its own."
_TRIED: Final = 8
"""Instances of a series or study of which a thumbnail is tried."""


@dataclass(frozen=True)
class Wanted:
    """An image that is to be made of an instance, shown by a presentation state if there is one."""

    one: StoredInstance
    picture: Picture
    state: StoredInstance | None = None

    @property
    def bytes_of(self) -> tuple[StoredInstance, ...]:
        """What it is made of."""
        return (self.one,) if self.state is None else (self.one, self.state)


async def rendered(request: Request) -> Response:
    """Retrieve images as they are to be seen."""
    try:
        asked = appearances.appearance(request.query_params.multi_items())
    except InvalidParameter as error:
        raise _bad(error) from error
    frames = _frames(request)
    instances = await stored(request)
    if len(instances) == 1 and instances[0].transfer_syntax_uid in VIDEO and frames is None:
        return await send_video(request, instances[0], accepted(request))
    form = image_form(accepted(request), one=len(instances) == 1)
    if form is None:
        raise not_acceptable([*KINDS, f'{MULTIPART_TYPE}; type="{KINDS[0]}"'])
    picture = Picture(frames, form.kind, asked)
    wanted = await _wanted(request, instances, picture)
    key = key_of([one for each in wanted for one in each.bytes_of], picture)
    if known := _unless_known(request, key):
        return known
    if len(wanted) == 1 and form.single:
        return await send_image(request, wanted[0])
    return await _several(request, wanted, picture.kind, key)


async def _wanted(
    request: Request, instances: Sequence[StoredInstance], picture: Picture
) -> list[Wanted]:
    """Return an image for each instance, or for each frame that is named; a GIF holds them all.

    Of a presentation state they are the images that it is of (PS3.18 section 10.4.1.1.3).
    """
    found: list[Wanted] = []
    named = "instance" in request.path_params
    for one in instances:
        if named and picture.frames is None and one.sop_class_uid in STATES:
            if picture.appearance.window is not None:
                raise bad_request(_NO_WINDOW, ("window", _NO_WINDOW))
            images = await images_of(parts_of(request.scope).reader, one)
            found += [
                Wanted(each.one, each_picture, one)
                for each in images
                for each_picture in _split(replace(picture, frames=each.frames))
            ]
        else:
            found += [Wanted(one, each_picture) for each_picture in _split(picture)]
    return found


async def send_image(request: Request, wanted: Wanted) -> Response:
    """Return one image by itself, unless the client has it already.

    Raises:
        ApiError: see `image_of`.
    """
    key = key_of(wanted.bytes_of, wanted.picture)
    if known := _unless_known(request, key):
        return known
    return _answer(await image_of(request, wanted), wanted.picture, key)


async def _several(request: Request, wanted: Sequence[Wanted], kind: str, key: bytes) -> Response:
    """Return several images, and tell of those that are left out, as far as it is known by then.

    Raises:
        ApiError: see `image_of`; 406 when there are none.
    """
    framing = Framing(kind)
    left_out: list[str] = []
    parts = _parts(request, framing, wanted, left_out)
    first = await _first(parts)
    if not first.parts:
        raise cannot_be_made("no image of it can be rendered")
    headers = {"content-type": framing.content_type, **_headers(key)}
    if left_out:
        headers["warning"] = f'299 darkroom "{len(left_out)} images {_LEFT_OUT}"'
    elif not first.whole:
        headers["warning"] = f'299 darkroom "Images {_LEFT_OUT}"'

    async def chunks() -> AsyncIterator[bytes]:
        for part in first.parts:
            yield part
        async for part in parts:
            yield part

    return StreamingResponse(chunks(), headers=headers)


async def thumbnail(request: Request) -> Response:
    """Retrieve a small image that stands for a study, a series, an instance or a frame."""
    try:
        asked = appearances.thumbnail(request.query_params.multi_items())
    except InvalidParameter as error:
        raise _bad(error) from error
    frames = _frames(request)
    instances = await stored(request)
    form = image_form(accepted(request), one=True)
    if form is None or not form.single:
        raise not_acceptable([*KINDS])
    picture = Picture(frames and frames[:1], form.kind, asked, middle=True)
    key = key_of(instances, picture)
    if known := _unless_known(request, key):
        return known
    fault = cannot_be_made("no image of it can be rendered")
    for one in _from_the_middle(instances):
        try:
            return _answer(await image_of(request, Wanted(one, picture)), picture, key)
        except ApiError as error:
            if error.code is not Code.NOT_ACCEPTABLE:
                raise
            fault = error
    raise fault


def _from_the_middle(instances: Sequence[StoredInstance]) -> list[StoredInstance]:
    """Return some of the first series, from its middle on, and one of each of some others."""
    series: dict[str, list[StoredInstance]] = {}
    for one in instances:
        series.setdefault(one.series_instance_uid, []).append(one)
    first, *others = series.values()
    middle = (len(first) - 1) // 2
    near = sorted(first, key=lambda one: abs(first.index(one) - middle))[:_TRIED]
    return near + [each[(len(each) - 1) // 2] for each in others[:_TRIED]]


def _frames(request: Request) -> tuple[int, ...] | None:
    text = request.path_params.get("frames")
    if text is None:
        return None
    try:
        return tuple(frame_numbers(text))
    except ValueError:
        raise bad_request("Frames are numbers from 1, separated by commas.") from None


async def image_of(request: Request, wanted: Wanted) -> bytes:
    """Return an image.

    Raises:
        ApiError: 404, 406, 500.
    """
    rendering = parts_of(request.scope).rendering
    wait_for_another(request.scope, rendering.patience())
    with told():
        return await rendering.image(wanted.one, wanted.picture, wanted.state)


@dataclass(frozen=True)
class _First:
    """The first parts of an answer, and whether those are all."""

    parts: list[bytes]
    whole: bool


async def _first(parts: AsyncIterator[bytes]) -> _First:
    """Take parts for a while, so that what cannot be rendered of them is known."""
    until = SYSTEM_CLOCK.monotonic() + _LOOK_SECONDS
    taken: list[bytes] = []
    size = 0
    async for part in parts:
        taken.append(part)
        size += len(part)
        if size >= _LOOK_BYTES or SYSTEM_CLOCK.monotonic() >= until:
            return _First(taken, whole=False)
    return _First(taken, whole=True)


async def _parts(
    request: Request, framing: Framing, wanted: Sequence[Wanted], left_out: list[str]
) -> AsyncIterator[bytes]:
    """Yield a part for each image: one of each instance, or of each frame that is named.

    Instances that cannot be rendered are left out, unless it is the only one: they are added to
    `left_out`, and named behind the last part, where whoever reads parts alone passes them over
    (the epilogue of RFC 2046 section 5.1.1).
    """
    base = dicomweb_url(request)
    first, only = True, len({each.one.id for each in wanted}) == 1
    for each in wanted:
        where = instance_url(base, each.one)
        if each.picture.frames is not None:
            where += f"/frames/{','.join(str(frame + 1) for frame in each.picture.frames)}"
        where += "/rendered"
        try:
            image = await image_of(request, each)
        except ApiError as error:
            if only:
                raise
            left_out.append(f"{where}: {error.status} {error.detail}")
            continue
        head = framing.head(framing.part_type, first=first, length=len(image), location=where)
        yield head + image
        first = False
    if not first:
        yield framing.tail
        if left_out:
            yield "\r\n".join(["Left out:", *left_out, ""]).encode()


def _split(picture: Picture) -> list[Picture]:
    """Return an image for each frame that is named; a GIF holds them all."""
    if picture.frames is None or picture.kind == GIF:
        return [picture]
    return [replace(picture, frames=(frame,)) for frame in picture.frames]


def _answer(image: bytes, picture: Picture, key: bytes) -> Response:
    return Response(image, headers={"content-type": picture.kind, **_headers(key)})


def _bad(error: InvalidParameter) -> ApiError:
    return bad_request(f"{error.name} {error}.", (error.name, str(error)))


def _unless_known(request: Request, key: bytes) -> Response | None:
    headers = _headers(key)
    if is_known(request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    return None


def _headers(key: bytes) -> dict[str, str]:
    return {"etag": f'"{key.hex()[:32]}"', "cache-control": _PRIVATE, "vary": "Accept"}


_RENDERED: Final = [
    parameter("window", "center,width,function; linear, linear-exact or sigmoid."),
    parameter("viewport", "vw,vh or vw,vh,sx,sy,sw,sh; a negative sw or sh flips."),
    parameter("quality", "1 to 100, of JPEG.", kind="integer"),
    parameter("annotation", "patient, technique, or both with a comma."),
    parameter("iccprofile", "no, yes, srgb, adobergb, rommrgb or displayp3."),
]
_THUMBNAIL: Final = [parameter("viewport", "vw,vh")]
_ACCEPT: Final = parameter("accept", "Media types, instead of those of the header Accept.")
_STUDY: Final = "/dicom-web/studies/{study}"
_SERIES: Final = _STUDY + "/series/{series}"
_INSTANCE: Final = _SERIES + "/instances/{instance}"
PATHS: Final = (_STUDY, _SERIES, _INSTANCE, _INSTANCE + "/frames/{frames}")


def add(app: FastAPI) -> None:
    """Add the routes."""
    for path in PATHS:
        names = [n for n in ("study", "series", "instance") if f"{{{n}}}" in path]
        level = "frames" if path.endswith("/{frames}") else names[-1]
        places = [in_path(name) for name in names]
        if level == "frames":
            places.append(
                {"name": "frames", "in": "path", "required": True, "schema": {"type": "string"}}
            )
        for what, endpoint, takes, kinds in (
            ("rendered", rendered, _RENDERED, (*KINDS, *VIDEOS, MULTIPART_TYPE)),
            ("thumbnail", thumbnail, _THUMBNAIL, KINDS),
        ):
            app.add_api_route(
                f"{path}/{what}",
                endpoint,
                name=f"{what}_{level}",
                tags=["WADO-RS"],
                response_class=Response,
                responses={
                    **body("What is to be seen.", *kinds),
                    304: {"description": "The client has it already."},
                    **errors(400, 401, 403, 404, 406, 412, 429, 500, 503),
                },
                openapi_extra={"parameters": [*places, *takes, _ACCEPT]},
            )
