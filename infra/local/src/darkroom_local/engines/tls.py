"""TLS of the engines: 1.2 or 1.3 with a certificate of ours, and nothing plain beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

DATABASE_RULES: Final = "".join(
    f"hostssl {what} all 127.0.0.1/32 scram-sha-256\n" for what in ("all", "replication")
)
_CIPHERS: Final = (  # RFC 9325 section 4.2
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)


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
        "ssl_options.honor_cipher_order = true",
        *(f"ssl_options.ciphers.{n} = {name}" for n, name in enumerate(_CIPHERS, start=1)),
    ]


def database_settings(tls: TlsPair, rules: Path) -> dict[str, str]:
    """Return the settings of PostgreSQL; a renewed certificate is taken on SIGHUP.

    Args:
        tls: its files.
        rules: its `pg_hba.conf`, which has to hold `DATABASE_RULES`.
    """
    return {
        "ssl": "on",
        "ssl_cert_file": str(tls.certificate),
        "ssl_key_file": str(tls.key),
        "ssl_min_protocol_version": "TLSv1.2",
        "ssl_ciphers": "ECDHE+AESGCM:ECDHE+CHACHA20",
        "hba_file": str(rules),
    }
