"""TLS of the engines: 1.2 or 1.3 with a certificate of ours, and nothing plain beside it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TlsPair:
    """PEM files that the engine's user can read: the authority, a certificate of it, its key."""

    ca: Path
    certificate: Path
    key: Path


def broker_listeners(address: str, tls: TlsPair | None) -> list[str]:
    """Return the lines of `rabbitmq.conf` that say where AMQP is spoken, and how.

    A renewed certificate is taken when Erlang next looks at its files, at most two minutes later.
    """
    if tls is None:
        return [f"listeners.tcp.local = {address}"]
    return [
        "listeners.tcp = none",
        f"listeners.ssl.local = {address}",
        f"ssl_options.cacertfile = {tls.ca}",
        f"ssl_options.certfile = {tls.certificate}",
        f"ssl_options.keyfile = {tls.key}",
        "ssl_options.verify = verify_none",  # clients show passwords, no certificates
        "ssl_options.fail_if_no_peer_cert = false",
        "ssl_options.versions.1 = tlsv1.3",
        "ssl_options.versions.2 = tlsv1.2",
    ]
