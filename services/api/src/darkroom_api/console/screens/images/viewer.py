"""OHIF under `/viewer/`, from its package, with our configuration (docs/viewer.md)."""

import asyncio
import re
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.console.assets import KINDS, VENDORED, asset, content_of, packed_of, show_asset
from darkroom_api.console.screen import Screen
from darkroom_api.http.errors import ApiError, Code
from darkroom_common.errors import ConfigurationError

_OHIF: Final = VENDORED / "ohif"
_OWN: Final = {"app-config.js": "viewer_config.js", "presentation-states.js": "viewer_states.js"}
"""What stands beside the files of OHIF, and where it is."""
_INDEX: Final = "index.html"
_POLICY: Final = (
    # OHIF styles its elements itself, and decodes by WebAssembly in workers made of blobs; what
    # it fetches ahead falls under default-src in Firefox.
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:;"
    " connect-src 'self' blob: data:; media-src 'self' blob:; object-src 'self' blob:;"
    " frame-src 'self' blob:; manifest-src 'self'; base-uri 'self'; form-action 'self';"
    " frame-ancestors 'self'"
)
_AHEAD: Final = (
    *(1673, 6938, 6489, 6495, 8478, 89, 2779, 6749, 5696, 1483, 9383, 7499, 8492, 9290, 4683),
    *(1180, 7248, 781, 9415, 9116, 100, 3500, 5406, 3760),
)
"""Parts of OHIF that each page begins, and would ask for only one wave after the other."""
_PART: Final = re.compile(r"(\d+)\.bundle\.[0-9a-f]+\.js(?:\.gz)?")
_HASHED: Final = (".bundle.", ".wasm", ".woff2")


async def show_viewer(request: Request) -> Response:
    """Send a file of OHIF; what is none is one of its own routes, and gets its page."""
    name = request.path_params.get("path", "") or _INDEX
    if ".." in PurePosixPath(name).parts:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")
    headers = {"content-security-policy": _POLICY, "cache-control": "public, max-age=3600"}
    kind = KINDS.get(name.rpartition(".")[2])
    if name in _OWN:
        own = files("darkroom_api.console") / "static" / _OWN[name]
        body = await asyncio.to_thread(content_of, own)
        return Response(body, headers={**headers, "content-type": KINDS["js"]})
    if kind is None:
        name, kind = _INDEX, KINDS["html"]
    file = _OHIF.joinpath(*PurePosixPath(name).parts)
    if any(mark in name for mark in _HASHED):
        headers["cache-control"] = "public, max-age=31536000, immutable"
    headers["content-type"] = kind
    packed = await asyncio.to_thread(packed_of, file) if name != _INDEX else None
    if packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, headers={**headers, "content-encoding": "gzip"})
    body = await asyncio.to_thread(content_of, file)
    if body is None:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")
    if name == _INDEX:
        body = _page(body)
    return Response(body, headers={**headers, "vary": "Accept-Encoding"})


def _page(index: bytes) -> bytes:
    """Return the page of OHIF for `/viewer/`: its script and style, and nothing inline."""
    script = re.search(rb'src="/(app\.bundle\.[0-9a-f]+\.js)"', index)
    if script is None:
        raise ConfigurationError("the page of OHIF has another form than was fetched before")
    text = files("darkroom_api.console").joinpath("static", "viewer.html").read_bytes()
    for mark, by in (
        (b"APP_BUNDLE", script[1]),
        (b"OLDER", asset("older.js").encode()),
        (b"PARTS", "\n".join(_parts()).encode()),
    ):
        text = text.replace(mark, by)
    return text


@cache
def _parts() -> tuple[str, ...]:
    """Return what has a browser ask for the parts of OHIF at once."""
    found = {
        int(one[1]): one[0].removesuffix(".gz")
        for each in _OHIF.iterdir()
        if (one := _PART.fullmatch(each.name))
    }
    return tuple(
        f'<link rel="preload" as="script" href="/viewer/{found[part]}">'
        for part in _AHEAD
        if part in found
    )


def add(app: FastAPI) -> None:
    """Add the routes."""
    for path, shows in (
        ("/assets/{name}", show_asset),
        ("/viewer", show_viewer),
        ("/viewer/{path:path}", show_viewer),
    ):
        app.router.add_api_route(
            path,
            shows,
            methods=["GET"],
            response_class=Response,
            include_in_schema=False,
            route_class_override=Screen,
        )
