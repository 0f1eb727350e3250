"""Where the broker is, and how the way to it is made safe (BRK-01).

`amqps://user:password@host:5671/vhost?cafile=<PEM>` is TLS with the broker's certificate and name
checked; `certfile` and `keyfile` are a certificate of our own, for a broker that asks for one.
Without `cafile` the authorities of the system count. `amqp://` is for a broker on this machine;
to another one it has to be said with `?sslmode=disable`, as for PostgreSQL.
"""

import ssl
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, SecretStr

from darkroom_common.dimse.tls import TlsClient
from darkroom_common.links.nearness import is_here
from darkroom_common.specs.destinations import Tls

SERVER: Final = "amqp"
"""What the metrics call the certificate that we show to the broker."""
_SAFE: Final = "amqps"
_FILES: Final = ("cafile", "certfile", "keyfile")
_PLAIN: Final = "disable"


def require_checked(url: SecretStr) -> SecretStr:
    """Return the URL of a broker on this machine, over TLS that checks it, or said plain.

    Raises:
        ValueError: the scheme is none of AMQP, an option is not one of `_FILES`, or the way to
            another machine is plain without a word.
    """
    parts = urlsplit(url.get_secret_value())
    if parts.scheme not in ("amqp", _SAFE):
        raise ValueError("it begins with amqp:// or amqps://")
    options = parse_qs(parts.query, keep_blank_values=True)
    if parts.scheme == _SAFE and not options.keys() <= set(_FILES):
        raise ValueError(f"of options amqps has {', '.join(_FILES)}: certificates are checked")
    plain = options.get("sslmode", [""])[-1] == _PLAIN
    if parts.scheme != _SAFE and not (plain or is_here(parts.netloc.rpartition("@")[2])):
        raise ValueError(
            f"a broker on another machine needs {_SAFE}://...?cafile=<file with the CA>; in a"
            f" network of its own ?sslmode={_PLAIN} says that it goes without"
        )
    if ("certfile" in options) is not ("keyfile" in options):
        raise ValueError("certfile and keyfile belong together")
    return url


AmqpUrl = Annotated[SecretStr, AfterValidator(require_checked)]
"""A setting: `amqp[s]://user:password@host:port/vhost[?cafile=...&certfile=...&keyfile=...]`."""


class BrokerTls:
    """TLS of the connections to one broker; its files are looked at before each of them."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        told = parse_qs(parts.query)
        ca, certificate, key = (Path(told[name][-1]) if name in told else None for name in _FILES)
        self._asked = Tls(enabled=True, strict=False, client_certificate=certificate is not None)
        self._client = (
            TlsClient(ca, certificate, key, name=SERVER) if parts.scheme == _SAFE else None
        )

    def context(self) -> ssl.SSLContext | None:
        """Return what the next connection is made with; None for a plain one.

        Raises:
            BadCertificate: a file cannot be used, and there is nothing older.
        """
        return None if self._client is None else self._client.context(self._asked)
