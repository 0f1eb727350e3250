"""Files of the pages, under names with their digest, so that browsers may keep them for a year."""

import asyncio
import gzip
import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.errors import ApiError, Code
from darkroom_common.errors import ConfigurationError

_HERE: Final = files("darkroom_api.console")
VENDORED: Final = _HERE / "vendored"
"""What `services/api/vendor/fetch.py` has fetched."""
_OF_OTHERS: Final = {"htmx.js": VENDORED / "htmx" / "dist" / "htmx.min.js"}
KINDS: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "wasm": "application/wasm",
    "woff2": "font/woff2",
    "ttf": "font/ttf",
}
_KEPT: Final = {"cache-control": "public, max-age=31536000, immutable"}
_DIGITS: Final = 12


@cache
def asset(name: str) -> str:
    """Return the address of a file of the pages.

    Raises:
        ConfigurationError: it was not fetched.
    """
    stem, _, kind = name.rpartition(".")
    return f"/assets/{stem}.{hashlib.sha256(_read(name)).hexdigest()[:_DIGITS]}.{kind}"


@cache
def _read(name: str) -> bytes:
    body = content_of(_OF_OTHERS.get(name, _HERE / "static" / name))
    if body is None:
        raise ConfigurationError(f"{name} is missing: run services/api/vendor/fetch.py")
    return body


def content_of(file: Traversable) -> bytes | None:
    """Return what a file holds that may stand there compressed; None when it is not there."""
    if file.is_file():
        return file.read_bytes()
    packed = packed_of(file)
    return None if packed is None else gzip.decompress(packed)


def packed_of(file: Traversable) -> bytes | None:
    """Return what a file holds as gzip; None when it does not stand there so."""
    packed = Path(str(file) + ".gz")
    return packed.read_bytes() if packed.is_file() else None


async def show_asset(request: Request) -> Response:
    """Send a file under its name with its digest."""
    stem, _, kind = request.path_params["name"].rpartition(".")
    bare = f"{stem.rpartition('.')[0]}.{kind}"
    known = await asyncio.to_thread(_known)
    if bare not in known or asset(bare) != request.url.path:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")
    return Response(_read(bare), headers={**_KEPT, "content-type": KINDS[kind]})


@cache
def _known() -> frozenset[str]:
    own = {one.name for one in (_HERE / "static").iterdir()}
    return frozenset(own | _OF_OTHERS.keys())
