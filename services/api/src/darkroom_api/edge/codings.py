"""Content codings of answers: gzip, br and zstd (RFC 9110 sections 8.4.1 and 12.5.3)."""

from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import Final

import brotli
import zstandard
from isal import isal_zlib
from starlette.requests import Request

_GZIP: Final = 16 + isal_zlib.MAX_WBITS
_GZIP_LEVEL: Final = 2  # on a local network the time counts more than the last percent
_BROTLI_QUALITY: Final = 1
_ZSTD_LEVEL: Final = 1


class Coding(StrEnum):
    """A content coding; the first is the one that costs least."""

    ZSTD = "zstd"
    BR = "br"
    GZIP = "gzip"
    IDENTITY = "identity"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a body in this coding."""
        return {} if self is Coding.IDENTITY else {"content-encoding": self.value}


def coding_of(request: Request) -> Coding:
    """Return the coding that a client wants most; among equals the one that costs least.

    A client that wants none of them gets none: the body by itself is always understood.
    """
    said = ",".join(request.headers.getlist("accept-encoding"))
    wanted: dict[str, float] = {}
    for part in said.split(","):
        name, *parameters = (one.strip().lower() for one in part.split(";"))
        wanted[name] = min((_quality(one) for one in parameters), default=1.0)
    others = wanted.get("*", 0.0)
    rank = {coding: wanted.get(coding.value, others) for coding in Coding}
    rank[Coding.IDENTITY] = wanted.get("identity", 0.0)
    best = max(Coding, key=lambda coding: rank[coding])
    return best if rank[best] > 0 else Coding.IDENTITY


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def pack(body: bytes, coding: Coding) -> bytes:
    """Return a body in a coding."""
    add, finish = _packer(coding)
    return add(body) + finish()


async def packed(chunks: AsyncIterator[bytes], coding: Coding) -> AsyncIterator[bytes]:
    """Yield a body in a coding while it is made."""
    add, finish = _packer(coding)
    async for chunk in chunks:
        if data := add(chunk):
            yield data
    if data := finish():
        yield data


def _packer(coding: Coding) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    """Return what takes the parts of a body, and what ends it."""
    match coding:
        case Coding.ZSTD:
            zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
            return zstd.compress, zstd.flush
        case Coding.BR:
            br = brotli.Compressor(quality=_BROTLI_QUALITY)
            return br.process, br.finish
        case Coding.GZIP:
            gzip = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP)
            return gzip.compress, gzip.flush
    return bytes, bytes
