"""What is known of a request by where it comes from, and the headers that every answer has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.types import Scope

from darkroom_api.accounts.client import client_of, scheme_of
from darkroom_api.edge.cross_origin import CrossOrigin
from darkroom_api.edge.hosts import Hosts
from darkroom_api.settings import ApiSettings
from darkroom_common.http.door import Network

SECURITY: Final = {
    # Nothing of an answer is a page, but for /docs, which says so itself. The viewer is framed.
    "content-security-policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
STRICT_TRANSPORT: Final = {"strict-transport-security": "max-age=31536000"}


@dataclass(frozen=True)
class Edge:
    """Whom to believe, who may ask, and under which names.

    Attributes:
        proxies: whose X-Forwarded-For and X-Forwarded-Proto are believed. Forwarded,
            X-Forwarded-Host and all others of the kind are nobody's: a proxy that does not write
            them itself passes on what a client made up.
        hosts: the names that are served.
        cross_origin: the pages that may ask.
        tls: whether clients always come by TLS, whatever a proxy says.
    """

    proxies: Sequence[Network]
    hosts: Hosts
    cross_origin: CrossOrigin
    tls: bool

    @classmethod
    def of(cls, settings: ApiSettings) -> "Edge":
        """Return the edge that the settings describe."""
        return cls(
            settings.trusted_proxies,
            Hosts(frozenset(name.lower() for name in settings.allowed_hosts)),
            CrossOrigin(frozenset(settings.cors_origins)),
            (settings.public_url or "").startswith("https:"),
        )

    def enter(self, scope: Scope) -> None:
        """Set in a request who asks, and by which scheme."""
        scheme = scheme_of(scope, self.proxies)
        scope["client"] = client_of(scope, self.proxies)
        scope["scheme"] = "https" if self.tls else scheme

    def headers(self, scope: Scope, request: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        """Return the headers of every answer to a request, unless its route has its own."""
        secure = scope["scheme"] == "https"
        origin = self.cross_origin.answer(request)
        return [*(_STRICT if secure else _PLAIN), *_encoded(origin)]


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


_PLAIN: Final = _encoded(SECURITY)
_STRICT: Final = _encoded({**SECURITY, **STRICT_TRANSPORT})
