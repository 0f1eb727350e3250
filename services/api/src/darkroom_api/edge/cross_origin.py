"""Pages of other origins that may ask (CORS, the Fetch standard section 3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
REQUEST_HEADERS: Final = (
    # Those of 002, 344 to 354.
    "accept",
    "accept-encoding",
    "authorization",
    "content-type",
    "dnt",
    "origin",
    "user-agent",
    "x-csrftoken",
    "x-requested-with",
    # What changing a study and asking twice take besides.
    "idempotency-key",
    "if-match",
    "if-none-match",
    "range",
)
EXPOSED: Final = (
    "Link",
    "X-Total-Count",
    "ETag",
    "Warning",
    "Location",
    "Retry-After",
    "X-Request-Id",
    "Content-Location",
    "Content-Range",
    "Accept-Ranges",
    "Digest",
    "Repr-Digest",
)
KEPT_SECONDS: Final = 600
"""A preflight's answer, by the browser."""
_ASKED_FIRST: Final = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


@dataclass(frozen=True)
class CrossOrigin:
    """Which origins may ask, with credentials.

    Attributes:
        origins: as browsers write them, `https://host[:port]` in lower case.
    """

    origins: frozenset[str]

    def answer(self, request: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of every answer to a request."""
        if not self.origins:
            return {}
        origin = request.get("origin")
        if origin not in self.origins:
            return {"vary": "Origin"}
        return {
            "vary": "Origin",
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true",
            "access-control-expose-headers": ", ".join(EXPOSED),
        }

    def preflight(self, method: str, request: Mapping[str, str]) -> dict[str, str] | None:
        """Return the headers of the answer to a preflight, or None when it is none.

        An origin that may not ask gets an answer that allows nothing.
        """
        if (
            method != "OPTIONS"
            or not self.origins
            or "origin" not in request
            or "access-control-request-method" not in request
        ):
            return None
        if request["origin"] not in self.origins:
            return {"vary": _ASKED_FIRST}
        return {
            "vary": _ASKED_FIRST,
            "access-control-allow-methods": METHODS,
            "access-control-allow-headers": ", ".join(REQUEST_HEADERS),
            "access-control-max-age": str(KEPT_SECONDS),
        }
