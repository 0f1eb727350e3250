"""Hosts of a hospital in network namespaces: a cluster of three brokers, two databases, services.

Each host has an address on one bridge, which is in a namespace of its own, too: nothing of it is
seen from outside. A host is cut off by taking its end of the cable down.
"""

import asyncio
import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from darkroom_common.amqp.definitions import render_definitions
from darkroom_common.amqp.permissions import USERS
from darkroom_local.engines.postgres import Installation, installations
from darkroom_local.engines.process import Account, Child, Command, unprivileged_account
from darkroom_local.engines.rabbitmq import server_script
from tests.support.waiting import until

T = TypeVar("T")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_NET: Final = "10.77.0"
AMQP: Final = 5672
POSTGRES: Final = 5432
BROKERS: Final = ("q1", "q2", "q3")
DATABASES: Final = ("d1", "d2")
SITES: Final = ("s1", "s2")
SENDER: Final = "m1"
NUMBERS: Final = dict(zip((*BROKERS, *DATABASES, *SITES, SENDER), range(11, 30), strict=False))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _enter(space: str) -> None:
    """Have this thread be on a host."""
    with Path(f"/run/netns/{space}").open() as file:
        if _LIBC.setns(file.fileno(), 0):
            raise OSError(ctypes.get_errno(), "setns")


@dataclass
class Network:
    """The hosts and their bridge; `make` before, `remove` after."""

    prefix: str = field(default_factory=lambda: f"dk{secrets.token_hex(3)}")
    _threads: dict[str, ThreadPoolExecutor] = field(default_factory=dict)

    @property
    def _bridge(self) -> str:
        return f"{self.prefix}-net"

    def space(self, host: str) -> str:
        """The namespace of a host."""
        return f"{self.prefix}-{host}"

    def make(self) -> None:
        """Build it."""
        _ip("netns", "add", self._bridge)
        _ip("-n", self._bridge, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._bridge, "link", "set", "br0", "up")
        for host, number in NUMBERS.items():
            space = self.space(host)
            _ip("netns", "add", space)
            near, far = ("name", "eth0", "netns", space), ("name", host, "netns", self._bridge)
            _ip("link", "add", *near, "type", "veth", "peer", *far)
            _ip("-n", self._bridge, "link", "set", host, "master", "br0", "up")
            _ip("-n", space, "addr", "add", f"{_NET}.{number}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            hosts = Path("/etc/netns") / space / "hosts"
            hosts.parent.mkdir(parents=True)
            first = number % len(BROKERS)
            order = BROKERS[first:] + BROKERS[:first]
            names = [f"{address(one)} brokers" for one in order]
            hosts.write_text("\n".join(["127.0.0.1 localhost", *names, ""]))

    def remove(self) -> None:
        """Take it away."""
        for threads in self._threads.values():
            threads.shutdown()
        for host in NUMBERS:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", self.space(host))
            shutil.rmtree(Path("/etc/netns") / self.space(host), ignore_errors=True)
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self._bridge)

    def cut_off(self, host: str) -> None:
        """Pull a host's cable."""
        _ip("-n", self._bridge, "link", "set", host, "down")

    def join(self, host: str) -> None:
        """Put it in again."""
        _ip("-n", self._bridge, "link", "set", host, "up")

    async def at(self, host: str, work: Callable[[], T]) -> T:
        """Do something in a thread that is on a host."""
        if host not in self._threads:
            enter, space = _enter, self.space(host)
            self._threads[host] = ThreadPoolExecutor(8, initializer=enter, initargs=(space,))
        return await asyncio.get_running_loop().run_in_executor(self._threads[host], work)

    async def fetch(self, sql: str, url: str) -> list[Any]:
        """Ask the database, as the sender's host reaches it."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(url, timeout=5)
            try:
                return list(await connection.fetch(sql, timeout=20))
            finally:
                await connection.close()

        return await self.at(SENDER, lambda: asyncio.run(ask()))

    def command(
        self,
        host: str,
        name: str,
        words: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        account: Account | None = None,
    ) -> Command:
        """What runs a program on a host, as a user; it ends with us."""
        change = ["setpriv", "--pdeathsig", "KILL"]
        if account is not None:
            change += [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
        return Command(
            name=name,
            arguments=["ip", "netns", "exec", self.space(host), *change, *words],
            directory=directory,
            log=directory / f"{name}.log",
            environment={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment},
        )


def address(host: str) -> str:
    return f"{_NET}.{NUMBERS[host]}"


def usable() -> Installation:
    """A PostgreSQL whose programs the user of the databases can run."""
    account = unprivileged_account("postgres", "nobody")
    for one in installations():
        words = [str(one.tool("postgres")), "--version"]
        change = ["setpriv", f"--reuid={account.uid}", "--clear-groups"] if account else []
        if not subprocess.run([*change, *words], check=False, capture_output=True).returncode:
            return one
    raise AssertionError("no PostgreSQL can be run")


@dataclass
class Brokers:
    """A cluster of RabbitMQ, a node on each host."""

    network: Network
    directory: Path
    passwords: dict[str, str] = field(
        default_factory=lambda: {one: secrets.token_hex(12) for one in USERS.values()}
    )
    nodes: dict[str, Child] = field(default_factory=dict)
    account: Account | None = field(
        default_factory=lambda: unprivileged_account("rabbitmq", "nobody")
    )

    async def start(self, *hosts: str) -> None:
        """Start nodes; wait until each is a member."""
        for host in hosts:
            self._write(host)
            words = [str(server_script())]
            self.nodes[host] = await Child.start(self._command(host, "rabbitmq", words))
        for host in hosts:
            await until(partial(self._is_member, host), f"{host} joins", limit=180, poll=1)

    async def kill(self, host: str) -> None:
        """Kill a node at once."""
        await self.nodes.pop(host).stop(signal.SIGKILL, seconds=5)

    async def leader(self, queue: str) -> str:
        """The host of a queue's leader."""
        asked = next(host for host in BROKERS if host in self.nodes)
        said = await self.control(asked, "list_queues", "-q", "--formatter=json", "name", "leader")
        (found,) = [one["leader"] for one in json.loads(said) if one["name"] == queue]
        return next(host for host in BROKERS if found == f"rabbit@{address(host)}")

    async def control(self, host: str, *words: str) -> str:
        """Run rabbitmqctl on a host."""
        script = server_script()
        assert script is not None
        command = self._command(host, "ctl", [str(script.with_name("rabbitmqctl")), *words])
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            env=dict(command.environment),
            cwd="/",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, wrong = await process.communicate()
        if process.returncode:
            raise OSError(wrong.decode()[-500:])
        return said.decode()

    async def _is_member(self, host: str) -> bool:
        try:
            said = await self.control(host, "cluster_status", "-q", "--formatter=json")
        except OSError:
            assert self.nodes[host].running, self.nodes[host].failure("ended")
            return False
        return len(json.loads(said)["running_nodes"]) == len(BROKERS)

    def _command(self, host: str, name: str, words: list[str]) -> Command:
        here = self.directory / host
        return self.network.command(
            host,
            name,
            words,
            directory=here,
            account=self.account,
            environment={
                "HOME": str(here),
                "RABBITMQ_NODENAME": f"rabbit@{address(host)}",
                "RABBITMQ_USE_LONGNAME": "true",
                "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
                "RABBITMQ_LOGS": "-",
                "RABBITMQ_LOG_BASE": str(here / "mnesia"),
                "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
                "RABBITMQ_CONF_ENV_FILE": "/dev/null",
                "RUNNING_UNDER_SYSTEMD": "true",
                "RABBITMQ_PID_FILE": str(here / "node.pid"),
                "ERL_CRASH_DUMP_SECONDS": "0",
            },
        )

    def _write(self, host: str) -> None:
        here = self.directory / host
        if here.exists():
            return
        here.mkdir(parents=True)
        members = [
            f"cluster_formation.classic_config.nodes.{number} = rabbit@{address(one)}"
            for number, one in enumerate(BROKERS, 1)
        ]
        definitions = here / "definitions.json"
        definitions.write_text(json.dumps(render_definitions(self.passwords)))
        (here / "enabled_plugins").write_text("[].")
        lines = [
            f"listeners.tcp.1 = 0.0.0.0:{AMQP}",
            f"load_definitions = {definitions}",
            "cluster_formation.peer_discovery_backend = classic_config",
            "cluster_partition_handling = pause_minority",
            "net_ticktime = 10",
            "disk_free_limit.absolute = 64MB",
            *members,
            "",
        ]
        (here / "rabbitmq.conf").write_text("\n".join(lines))
        cookie = here / ".erlang.cookie"
        cookie.write_text("DARKROOMHOSTSCOOKIE")
        for path in (here, *here.iterdir()):
            if self.account is not None:
                os.chown(path, self.account.uid, self.account.gid)
        cookie.chmod(0o400)

    def url(self, service: str) -> str:
        user = USERS[service]
        return f"amqp://{user}:{self.passwords[user]}@brokers:{AMQP}/%2F?sslmode=disable"


@dataclass
class Databases:
    """A primary, and a standby that has each transaction before it is answered."""

    network: Network
    directory: Path
    password: str = field(default_factory=lambda: secrets.token_hex(12))
    servers: dict[str, Child] = field(default_factory=dict)
    account: Account | None = field(
        default_factory=lambda: unprivileged_account("postgres", "nobody")
    )
    installation: Installation = field(default_factory=usable)

    def url(
        self, role: str = "postgres", password: str | None = None, name: str = "postgres"
    ) -> str:
        """Whichever of the two takes writes."""
        where = ",".join(f"{address(one)}:{POSTGRES}" for one in DATABASES)
        login = f"{role}:{password or self.password}"
        options = "sslmode=disable&target_session_attrs=read-write"
        return f"postgresql://{login}@{where}/{name}?{options}"

    async def start(self) -> None:
        """Make the primary, then its standby."""
        primary, standby = DATABASES
        self.directory.mkdir()
        if self.account is not None:
            os.chown(self.directory, self.account.uid, self.account.gid)
        handed = self.directory / "password"
        handed.write_text(self.password)
        handed.chmod(0o644)
        await self._finish(
            primary,
            "initdb",
            "-D",
            self._data(primary),
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            f"--pwfile={handed}",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        )
        rules = Path(self._data(primary)) / "pg_hba.conf"
        rules.write_text(
            f"host all all {_NET}.0/24 scram-sha-256\n"
            f"host replication all {_NET}.0/24 scram-sha-256\n"
        )
        await self._serve(primary)
        await self._takes(primary)
        await self._finish(
            standby,
            "pg_basebackup",
            "-D",
            self._data(standby),
            "-R",
            "-X",
            "stream",
            "-d",
            f"postgresql://postgres:{self.password}@{address(primary)}:{POSTGRES}/",
        )
        await self._serve(standby)
        url = self.url()
        await until(
            lambda: self.network.fetch(
                "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'", url
            ),
            "the standby streams",
            limit=60,
            retry=(OSError, asyncpg.PostgresError),
        )
        await self.network.fetch("ALTER SYSTEM SET synchronous_standby_names = '*'", url)
        await self.network.fetch("SELECT pg_reload_conf()", url)

    async def fail_over(self) -> None:
        """End the primary at once, and promote the standby, which waits for no other."""
        primary, standby = DATABASES
        await self.servers.pop(primary).stop(signal.SIGKILL, seconds=5)
        one = f"postgresql://postgres:{self.password}@{address(standby)}:{POSTGRES}/postgres"
        url = f"{one}?sslmode=disable"
        await self.network.fetch("SELECT pg_promote()", url)

    async def _serve(self, host: str) -> None:
        told = ["listen_addresses=*", f"port={POSTGRES}", "unix_socket_directories="]
        told += ["fsync=off", "max_connections=150"]
        words = [str(self.installation.tool("postgres")), "-D", self._data(host)]
        words += [word for one in told for word in ("-c", one)]
        self.servers[host] = await Child.start(self._command(host, f"postgres-{host}", words))

    async def _takes(self, host: str) -> None:
        url = f"postgresql://postgres:{self.password}@{address(host)}:{POSTGRES}/postgres"
        await until(
            lambda: self.network.fetch("SELECT 1", f"{url}?sslmode=disable"),
            "the primary answers",
            limit=60,
            retry=(OSError, asyncpg.PostgresError),
        )

    async def _finish(self, host: str, tool: str, *words: str) -> None:
        command = self._command(host, tool, [str(self.installation.tool(tool)), *words])
        child = await Child.start(command)
        assert await child.wait() == 0, child.failure("failed")

    def _command(self, host: str, name: str, words: list[str]) -> Command:
        return self.network.command(
            host, name, words, directory=self.directory, environment={}, account=self.account
        )

    def _data(self, host: str) -> str:
        return str(self.directory / host)
