"""Where a request came to, and what a path of it names."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request

from darkroom_api.accounts.client import PROXY_FIELDS
from darkroom_api.audit.recorded import KNOWN
from darkroom_api.http.errors import study_not_found
from darkroom_api.http.parts import parts_of
from darkroom_common.dicom.identity import LONGEST_UID
from darkroom_common.index.rows import StoredInstance

_PORT: Final = re.compile(r":\d+$")
_USUAL: Final = {"http": 80, "https": 443}


def dicomweb_url(request: Request) -> str:
    """Return the base URL of DICOMweb as the client reaches it.

    A Host without the port that the client must have used (dicomweb-client sends that) gets it,
    unless a proxy stands between.
    """
    public = parts_of(request.scope).settings.public_url
    if public is None:
        scheme, host = request.scope["scheme"], request.headers.get("host")
        if host is None:
            host = request.url.netloc
        server = request.scope.get("server")
        proxied = any(name in request.headers for name in PROXY_FIELDS)
        if server and not proxied and not _PORT.search(host) and server[1] != _USUAL.get(scheme):
            host = f"{host}:{server[1]}"
        public = f"{scheme}://{host}"
    return f"{public}/dicom-web"


def uid_of(request: Request, name: str) -> str:
    """Return a UID of the path.

    Raises:
        ApiError: 404, since nothing with such a UID can be stored.
    """
    uid: str = request.path_params[name]
    if not 0 < len(uid) <= LONGEST_UID or not uid.isprintable():
        raise study_not_found()
    return uid


def uids_of(request: Request) -> tuple[str | None, str | None, str | None]:
    """Return the study, series and instance of the path: those that it names."""
    names = ("study", "series", "instance")
    study, series, instance = (
        uid_of(request, name) if name in request.path_params else None for name in names
    )
    return study, series, instance


def next_link(request: Request, items: Iterable[tuple[str, str]], offset: int) -> str:
    """Return the Link header of the next page: the same search from another offset."""
    kept = [(name, value) for name, value in items if name != "offset"]
    query = urlencode([*kept, ("offset", str(offset))])
    path = request.url.path.removeprefix("/dicom-web")
    return f'<{dicomweb_url(request)}{path}?{query}>; rel="next"'


async def stored(request: Request) -> list[StoredInstance]:
    """Return the instances that the path names.

    Raises:
        ApiError: 404, there are none.
    """
    uids, parts = uids_of(request), parts_of(request.scope)
    known = parts.known.recall(*uids)
    if known is not None and KNOWN in request.scope:
        request.scope[KNOWN] = known  # what writes the row of the audit log asks if it still holds
        return [known]
    found = await parts.reader.stored(*uids)
    if not found:
        raise study_not_found()
    parts.known.keep(found)
    return found


def instance_url(base: str, one: StoredInstance) -> str:
    """Return the URL of an instance. UIDs in the index may hold characters that URLs escape."""
    return (
        f"{base}/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
        f"/instances/{one.sop_instance_uid}"
    )


def in_path(name: str) -> dict[str, object]:
    """Return the OpenAPI entry of a UID in the path."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": f"UID of the {name}: of 64 characters, or longer where devices wrote such.",
    }
