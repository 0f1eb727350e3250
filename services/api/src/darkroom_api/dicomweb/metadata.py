"""WADO-RS: the metadata of studies, series and instances (PS3.18 section 10.4.1.1.2)."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.dicomweb.address import dicomweb_url, in_path, instance_url, stored
from darkroom_api.dicomweb.forms import DICOM_XML, Form, form_of, xml_parts
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.edge.codings import coding_of, packed
from darkroom_api.http.documented import body, errors
from darkroom_api.http.etags import is_known
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import DICOM_JSON, VARY, begin
from darkroom_api.rendering.cache import Cache
from darkroom_common.index.answer import element, header_json
from darkroom_common.index.reader import IndexReader
from darkroom_common.index.rows import StoredInstance

_UIDS: Final = (b'"00080016":', b'"00080018":', b'"0020000D":', b'"0020000E":')
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
# The end of an element before one of a tag beyond 00083002. Text cannot look like it: its quotes
# are escaped.
_LATER: Final = re.compile(
    rb'\}(?=,"(?:0008(?:300[3-9A-F]|30[1-9A-F].|3[1-9A-F]..|[4-9A-F]...)|00(?:09|[1-9A-F].)....'
    rb'|(?!00)[0-9A-F]{8})":\{"vr")'
)
KEPT: Final = 32 << 20
"""Bytes of metadata that are kept as they were sent."""
MOST_KEPT: Final = 2 << 20
"""Bytes of one answer that is kept."""
_RELATIVE: Final = b'"BulkDataURI":"bulkdata/'


def metadata_of(one: StoredInstance, header: bytes, base: str) -> bytes:
    """Return the metadata of one instance as JSON text: absolute URLs, sorted attributes.

    A header is compact JSON with sorted tags, as the indexer wrote it, so the one attribute that
    is added goes in without parsing the rest, which would take ten times as long.
    """
    if _RELATIVE in header:
        url = instance_url(base, one).encode()
        header = header.replace(_RELATIVE, b'"BulkDataURI":"' + url + b"/bulkdata/")
    if all(uid in header for uid in _UIDS) and b'"00083002":' not in header:
        for place in _LATER.finditer(header):
            before = header[: place.start() + 1]
            structure = _STRING.sub(b"", before)
            if structure.count(b"{") - structure.count(b"}") == 1:  # not inside of a sequence
                added = orjson.dumps(element("UI", one.transfer_syntax_uid))
                after = header[place.start() + 1 :]
                return b"".join((before, b',"00083002":', added, after))
    attributes = header_json(
        orjson.loads(header or b"{}"),
        study=one.study_instance_uid,
        series=one.series_instance_uid,
        sop_class=one.sop_class_uid,
        instance=one.sop_instance_uid,
    )
    attributes["00083002"] = element("UI", one.transfer_syntax_uid)
    return orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)


async def metadata_array(
    reader: IndexReader, instances: Sequence[StoredInstance], base: str
) -> AsyncIterator[bytes]:
    """Yield the JSON array of the instances' metadata, some instances at a time."""
    opening = b"["
    async for batch in reader.headers(instances):
        yield opening + b",".join(metadata_of(one, header, base) for one, header in batch)
        opening = b","
    yield b"]" if opening == b"," else b"[]"


async def _xml_parts(
    reader: IndexReader, instances: Sequence[StoredInstance], base: str, framing: Framing
) -> AsyncIterator[bytes]:
    """Yield the parts of the instances' metadata as XML, some instances at a time."""
    first = True
    async for batch in reader.headers(instances):
        data_sets = [orjson.loads(metadata_of(one, header, base)) for one, header in batch]
        yield await asyncio.to_thread(xml_parts, data_sets, framing, first=first)
        first = False
    yield framing.tail


async def metadata(request: Request) -> Response:
    """Retrieve the attributes of every instance, bulk data by reference."""
    form = form_of(request)
    instances = await stored(request)
    reader, base = parts_of(request.scope).reader, dicomweb_url(request)
    headers = {"vary": VARY, "etag": _etag(instances, base, form)}
    if is_known(request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    if form is Form.XML:
        framing = Framing(DICOM_XML)
        begun = await begin(_xml_parts(reader, instances, base, framing))
        return _answer(request, begun, {**headers, "content-type": framing.content_type})
    coding = coding_of(request)
    sent = {**headers, **coding.headers, "content-type": form.value}
    kept, key = parts_of(request.scope).kept_metadata, f"{coding} {headers['etag']}".encode()
    body = kept.get(key)
    if body is not None:
        return Response(body, headers=sent)
    begun = await begin(metadata_array(reader, instances, base))
    return StreamingResponse(_keeping(kept, key, packed(begun, coding)), headers=sent)


def _answer(request: Request, chunks: AsyncIterator[bytes], headers: dict[str, str]) -> Response:
    coding = coding_of(request)
    return StreamingResponse(packed(chunks, coding), headers={**headers, **coding.headers})


async def _keeping(kept: Cache, key: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a body while it is made, and keep it in the form in which it is sent.

    Its key has the versions of all rows, so that whatever changes them is answered anew.
    """
    parts: list[bytes] = []
    async for chunk in chunks:
        if sum(map(len, parts)) <= MOST_KEPT:
            parts.append(chunk)
        yield chunk
    body = b"".join(parts)
    if len(body) <= MOST_KEPT:
        kept.put(key, body)


def _etag(instances: Sequence[StoredInstance], base: str, form: Form) -> str:
    """Return the ETag of metadata: of the versions of its rows, and of how it is shown."""
    versions = ",".join(f"{one.id}:{one.written}" for one in instances)
    digest = hashlib.sha256(f"{form}\n{base}\n{versions}".encode())
    return f'W/"{digest.hexdigest()[:32]}"'


_STUDY: Final = "/dicom-web/studies/{study}"


def add(app: FastAPI) -> None:
    """Add the routes."""
    for path, names in (
        (_STUDY, ["study"]),
        (_STUDY + "/series/{series}", ["study", "series"]),
        (_STUDY + "/series/{series}/instances/{instance}", ["study", "series", "instance"]),
    ):
        app.add_api_route(
            f"{path}/metadata",
            metadata,
            name=f"metadata_{names[-1]}",
            tags=["WADO-RS"],
            response_class=Response,
            responses={
                **body("One object or part an instance.", DICOM_JSON, "multipart/related"),
                304: {"description": "It is still as `If-None-Match` says."},
                **errors(401, 403, 404, 406, 412, 503),
            },
            openapi_extra={"parameters": [in_path(name) for name in names]},
        )
