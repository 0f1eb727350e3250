"""Where the database is, and whether the way to it is safe (MET-03)."""

from typing import Annotated, Final
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, SecretStr

from darkroom_common.links.nearness import is_here

_SAFE: Final = "verify-full"
_PLAIN: Final = "disable"


def require_safe(url: SecretStr) -> SecretStr:
    """Return the URL of a database on this machine, over TLS that checks the server, or said plain.

    Whoever leaves `sslmode` out gets what libpq calls `prefer`: whatever the other side says, from
    whoever it is. So a server on another machine has to be named with `sslmode=verify-full`, or,
    on purpose, with `sslmode=disable`.

    Raises:
        ValueError: `sslmode` is another, or is not there.
    """
    parts = urlsplit(url.get_secret_value())
    options = parse_qs(parts.query)
    hosts = parts.netloc.rpartition("@")[2].split(",") + options.get("host", [])
    mode = options.get("sslmode", [""])[-1]
    if mode in (_SAFE, _PLAIN) or all(is_here(host) for host in hosts if host):
        return url
    raise ValueError(
        f"a database on another machine needs ?sslmode={_SAFE}&sslrootcert=<file with the CA>;"
        f" in a network of its own ?sslmode={_PLAIN} says that it goes without"
    )


PostgresUrl = Annotated[SecretStr, AfterValidator(require_safe)]
"""A setting: `postgresql://role:password@host:port/database[?sslmode=...&sslrootcert=...]`."""
