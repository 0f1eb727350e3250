"""Connections to PostgreSQL over TLS, with the server's certificate checked (MET-03)."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import open_database
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.engines.process import unprivileged_account
from tests.support.certificates import Authority
from tests.support.services import prepare_database, role_url
from tests.support.waiting import until


def authority(directory: Path) -> Authority:
    directory.mkdir()
    return Authority(directory)


def install(signer: Authority, tls: Path) -> None:
    """Put a new certificate of the server and its key where PostgreSQL reads them."""
    pair = signer.sign("server")
    for file in (pair.certificate, pair.key):
        shutil.copy(file, tls)
    account = unprivileged_account("postgres", "nobody")
    for path in (tls, *tls.iterdir()):
        if account:
            shutil.chown(path, account.uid, account.gid)
        path.chmod(0o700 if path.is_dir() else 0o600)


async def reload(server: PrivatePostgres) -> None:
    connection = await asyncpg.connect(server.superuser_url())
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


@pytest.fixture
async def server(engine_directory: Path, tmp_path: Path) -> AsyncIterator[PrivatePostgres]:
    """A PostgreSQL that speaks TLS as `localhost`, and plain to nobody but the superuser."""
    tls = engine_directory / "tls"
    tls.mkdir()
    install(authority(tmp_path / "ca"), tls)
    settings = {
        "ssl": "on",
        "ssl_cert_file": str(tls / "server.pem"),
        "ssl_key_file": str(tls / "server.key"),
        "ssl_min_protocol_version": "TLSv1.2",
    }
    async with PrivatePostgres(
        engine_directory / "postgres", fsync=False, settings=settings
    ).running() as made:
        await prepare_database(made.superuser_url(), "metadata")
        rules = made.data / "pg_hba.conf"
        rules.write_text(
            "host all postgres 127.0.0.1/32 scram-sha-256\n"
            "hostssl all all 127.0.0.1/32 scram-sha-256\n"
        )
        await reload(made)
        yield made


def url(server: PrivatePostgres, host: str, options: str) -> str:
    plain = role_url(server.superuser_url(), "darkroom_metadata")
    return plain.replace("127.0.0.1", host) + f"?{options}"


async def in_use(address: str) -> bool:
    async with open_database(address, service="test") as database, database.acquire() as db:
        return bool(await db.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))


@pytest.mark.req("MET-03")
async def test_only_a_checked_certificate_is_good_enough(
    server: PrivatePostgres, tmp_path: Path
) -> None:
    ca = tmp_path / "ca" / "ca.pem"
    stranger = authority(tmp_path / "stranger").file
    assert await in_use(url(server, "localhost", f"sslmode=verify-full&sslrootcert={ca}"))
    with pytest.raises(DependencyUnavailable):  # not who it says it is
        await in_use(url(server, "127.0.0.1", f"sslmode=verify-full&sslrootcert={ca}"))
    with pytest.raises(DependencyUnavailable):  # an authority that nobody knows
        await in_use(url(server, "localhost", f"sslmode=verify-full&sslrootcert={stranger}"))
    with pytest.raises(DependencyUnavailable):  # the server does not talk plain
        await in_use(url(server, "localhost", "sslmode=disable"))


@pytest.mark.req("DEP-08")
async def test_a_pool_takes_a_renewed_authority(server: PrivatePostgres, tmp_path: Path) -> None:
    """Of whom the next connections are; what is open goes on."""
    ca, tls = tmp_path / "ca" / "ca.pem", server.directory.parent / "tls"
    address = url(server, "localhost", f"sslmode=verify-full&sslrootcert={ca}")
    async with open_database(address, service="test") as database, database.acquire() as kept:
        fresh = authority(tmp_path / "fresh")
        install(fresh, tls)
        await reload(server)

        async def refused() -> bool:
            try:
                await in_use(address)
            except DependencyUnavailable:  # the file is still that of the old authority
                return True
            return False

        await until(refused)  # then the postmaster has reloaded
        shutil.copy(fresh.file, ca)
        async with database.acquire() as another:
            assert await another.fetchval("SELECT 1") == 1
        assert await kept.fetchval("SELECT 1") == 1
