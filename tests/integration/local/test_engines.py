"""The private PostgreSQL and the private RabbitMQ: what they promise about safety and secrets."""

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

import asyncpg
import httpx
import pytest

from darkroom_local.engines.lock import AlreadyRunningError
from darkroom_local.engines.ports import is_free
from darkroom_local.engines.postgres import PrivatePostgres, installations
from darkroom_local.engines.process import StartError, leftovers
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ
from tests.support.waiting import succeeds

SECRET = "Phantom^Secret"


def listening(pids: list[int]) -> set[str]:
    """Return the addresses on which these processes listen (proc(5), net/tcp and net/tcp6)."""
    sockets = set()
    for fd in (fd for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            kind, _, number = str(fd.readlink()).partition(":")
            sockets |= {number.strip("[]")} if kind == "socket" else set()
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                words = bytes.fromhex(fields[1].partition(":")[0])
                swapped = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.add(socket.inet_ntop(family, swapped))
    return found


async def test_postgres_keeps_parameters_and_statements_out_of_its_log(
    own_postgres: PrivatePostgres,
) -> None:
    connection = await asyncpg.connect(own_postgres.superuser_url())
    with pytest.raises(asyncpg.PostgresError):
        await connection.fetchval("SELECT 1 / length($1::text) - length($1)::numeric / 0", SECRET)
    with pytest.raises(asyncpg.PostgresError):
        await connection.execute(f"CREATE ROLE postgres PASSWORD '{SECRET}'")
    await connection.execute("CREATE TABLE once (name text PRIMARY KEY)")
    await connection.execute("INSERT INTO once VALUES ($1)", SECRET)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("INSERT INTO once VALUES ($1)", SECRET)
    await connection.close()
    log = own_postgres.log.read_text()
    assert "ERROR" in log
    assert SECRET not in log


async def test_postgres_is_for_this_machine_and_for_those_who_know_the_password(
    own_postgres: PrivatePostgres,
) -> None:
    assert listening(leftovers(own_postgres.directory)) == {"127.0.0.1"}
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(own_postgres.url("postgres", "wrong", "postgres"))
    connection = await asyncpg.connect(own_postgres.superuser_url())
    settings = ("password_encryption", "data_checksums", "server_encoding", "lc_collate")
    values = {
        name: await connection.fetchval("SELECT current_setting($1, true)", name)
        for name in settings
    }
    await connection.close()
    assert values["password_encryption"] == "scram-sha-256"
    assert values["data_checksums"] == "on"
    assert values["server_encoding"] == "UTF8"


async def test_postgres_has_one_owner_at_a_time(own_postgres: PrivatePostgres) -> None:
    with pytest.raises(AlreadyRunningError):
        await PrivatePostgres(own_postgres.directory).start()


async def test_a_stale_pid_file_is_no_hindrance(own_postgres: PrivatePostgres) -> None:
    await own_postgres.stop()
    (own_postgres.data / "postmaster.pid").write_text(f"{os.getpid()}\n{own_postgres.data}\n")
    await own_postgres.start()
    assert own_postgres.child
    assert own_postgres.child.running


async def test_another_version_is_refused_with_advice(own_postgres: PrivatePostgres) -> None:
    await own_postgres.stop()
    (own_postgres.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(StartError, match=r"made by PostgreSQL 9.*install postgresql-9"):
        await own_postgres.start()


async def test_a_lost_superuser_password_is_told(own_postgres: PrivatePostgres) -> None:
    (own_postgres.directory / "superuser-password").unlink()
    with pytest.raises(StartError, match="put it back"):
        own_postgres.superuser_url()


def test_an_installation_with_pgcrypto_is_found() -> None:
    assert installations()[0].tool("pg_dump").exists()


async def test_rabbitmq_is_for_this_machine_and_has_no_guest(own_rabbitmq: PrivateRabbitMQ) -> None:
    assert listening(leftovers(own_rabbitmq.directory)) == {"127.0.0.1", "::1"}
    users = f"{own_rabbitmq.management_url}/api/users"
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        guest = await client.get(users, auth=("guest", "guest"))
        ours = await client.get(users, auth=("darkroom", own_rabbitmq.password))
    assert guest.status_code == 401
    assert [user["name"] for user in ours.json()] == ["darkroom"]
    definitions = (own_rabbitmq.directory / "definitions.json").read_text()
    assert own_rabbitmq.password not in definitions


async def test_a_lost_name_server_comes_back_and_the_node_stays(
    own_rabbitmq: PrivateRabbitMQ,
) -> None:
    assert own_rabbitmq.epmd
    assert own_rabbitmq.child
    node, name_server = own_rabbitmq.child.pid, own_rabbitmq.epmd.pid
    watching = asyncio.create_task(own_rabbitmq.ended())
    os.kill(name_server, signal.SIGKILL)
    said = await succeeds(lambda: own_rabbitmq.control("eval", "node()."), StartError)
    watching.cancel()
    assert "darkroom@localhost" in said
    assert own_rabbitmq.child.pid == node
    assert own_rabbitmq.epmd.pid != name_server
    await own_rabbitmq.kill()
    assert is_free(own_rabbitmq.ports.epmd)
    assert leftovers(own_rabbitmq.directory) == []
