"""A private RabbitMQ node: its own name server, cookie, ports and users, as child processes."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import string
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from darkroom_common.amqp.definitions import render_definitions, user_definition
from darkroom_local.engines.lock import DirectoryLock
from darkroom_local.engines.ports import LOOPBACK, free_port, listens, speaks_amqp
from darkroom_local.engines.process import (
    MARK,
    Account,
    Child,
    Command,
    StartError,
    make_reachable,
    reclaim,
    rotate,
    unprivileged_account,
)
from darkroom_local.engines.tls import TlsPair, broker_listeners

NODE: Final = "darkroom@localhost"
USER: Final = "darkroom"
_VHOST: Final = "/"

# Debian's own start script as in the upstream package: without the wrapper in /usr/sbin, which
# insists on the system's user and node.
_SERVER: Final = (
    Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),
    Path("/opt/rabbitmq/sbin/rabbitmq-server"),
)
_EPMD_PAUSE: Final = 0.5


def server_script() -> Path | None:
    """Return the start script of the RabbitMQ on this machine, or None."""
    return next((path for path in _SERVER if path.exists()), None)


@dataclass(frozen=True)
class RabbitPorts:
    """The ports of a node, all on 127.0.0.1; None leaves the plugin out.

    With `tls` the port `amqp` speaks nothing else.
    """

    amqp: int
    epmd: int
    distribution: int
    prometheus: int | None = None
    management: int | None = None
    tls: TlsPair | None = None

    @classmethod
    def free(cls, *, prometheus: bool = False, management: bool = False) -> Self:
        """Choose free ones."""
        taken: set[int] = set()
        for _ in range(5):
            taken.add(free_port(frozenset(taken)))
        amqp, epmd, distribution, third, fourth = taken
        return cls(
            amqp, epmd, distribution, third if prometheus else None, fourth if management else None
        )


class PrivateRabbitMQ:
    """One RabbitMQ node under `directory`, reachable from this machine only.

    With `passwords` it has our policies and the users of the services, each with the least rights;
    without them, or with the management interface, there is one user who may do everything, and
    never a guest. Layout: `mnesia` (the data), `rabbitmq.conf`, `definitions.json` (salted password
    hashes), `password` (mode 0600, of that one user), `home` (the Erlang cookie), `lock`. As root
    the node runs as user `rabbitmq`, who must reach `directory`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ports: RabbitPorts | None = None,
        passwords: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.ports = ports or RabbitPorts.free()
        self.log = log or self.directory / "rabbitmq.log"
        self.epmd: Child | None = None
        self.child: Child | None = None
        self._passwords = passwords or {}
        self._lock = DirectoryLock(self.directory)

    @property
    def password(self) -> str:
        """The password of `USER`, made when it is first asked for and kept."""
        secret = self.directory / "password"
        if not secret.exists():
            make_reachable(self.directory)
            _write(secret, secrets.token_urlsafe(24), 0o600, None)
        return secret.read_text()

    def url(self, vhost: str = _VHOST, user: str = USER) -> str:
        """Return the connection URL of a user; a secret."""
        where = quote(vhost, safe="")
        password = self.password if user == USER else self._passwords[user]
        login, port = f"{user}:{quote(password, safe='')}", self.ports.amqp
        if self.ports.tls is None:
            return f"amqp://{login}@{LOOPBACK}:{port}/{where}"
        return f"amqps://{login}@localhost:{port}/{where}?cafile={quote(str(self.ports.tls.ca))}"

    @property
    def management_url(self) -> str | None:
        """The base URL of the management API, when its plugin is on."""
        port = self.ports.management
        return None if port is None else f"http://{LOOPBACK}:{port}"

    async def start(self, *, seconds: float = 120) -> None:
        """Start the node; return when it takes connections.

        What a killed predecessor left running in this directory is ended first.

        Raises:
            AlreadyRunningError: another live process runs the node of this directory.
            StartError: RabbitMQ is not installed, or the node was not ready in time.
        """
        script = server_script()
        if script is None:
            raise StartError("RabbitMQ is not installed: apt-get install rabbitmq-server")
        make_reachable(self.directory)
        self._lock.acquire()
        try:
            await reclaim(self.directory, gently=signal.SIGTERM)
            account = unprivileged_account("rabbitmq", "nobody")
            self._write_files(account)
            await self._start(script, account, seconds)
            await self._forget_user()
        except BaseException:
            await self.kill()
            raise

    async def stop(self, *, seconds: float = 30) -> None:
        """Stop the node as SIGTERM does, which closes connections in order, then epmd."""
        if self.child:
            await self.child.stop(signal.SIGTERM, seconds=seconds)
            self.child = None
        await self.kill()

    async def kill(self) -> None:
        """Kill everything at once; harmless when nothing runs."""
        for child in (self.child, self.epmd):
            if child:
                await child.stop(signal.SIGKILL, seconds=10)
        if self.child or self.epmd:
            # The helpers that the node started, which end by themselves when it is gone.
            await reclaim(self.directory, gently=signal.SIGTERM)
        self.child = self.epmd = None
        self._lock.release()

    async def ended(self) -> str:
        """Wait until the node has ended by itself and say how; a lost epmd is started again."""
        if self.child is None or self.epmd is None:
            return "did not start"
        node = asyncio.create_task(self.child.wait())
        try:
            while True:
                name_server = asyncio.create_task(self.epmd.wait())
                await asyncio.wait({node, name_server}, return_when=asyncio.FIRST_COMPLETED)
                if node.done():
                    name_server.cancel()
                    return f"ended with code {node.result()}"
                await asyncio.sleep(_EPMD_PAUSE)
                try:
                    self.epmd = await self._start_epmd(self._environment())
                except StartError as error:
                    return f"lost its name server: {error}"
        finally:
            node.cancel()

    async def restart(self) -> None:
        """Stop and start on the same ports."""
        await self.stop()
        await self.start()

    async def control(self, *arguments: str, seconds: float = 60) -> str:
        """Run `rabbitmqctl` with `arguments` on this node and return what it printed.

        Raises:
            StartError: it failed, or took longer than `seconds`.
        """
        script = server_script()
        if script is None or self.child is None:
            raise StartError("the node does not run")
        account = unprivileged_account("rabbitmq", "nobody")
        process = await asyncio.create_subprocess_exec(
            str(script.with_name("rabbitmqctl")),
            *arguments,
            env={**self._environment(), MARK: str(self.directory)},
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        try:
            async with asyncio.timeout(seconds):
                output, _ = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise StartError(f"rabbitmqctl {arguments[0]} took over {seconds:g} s") from error
        if process.returncode != 0:
            raise StartError(f"rabbitmqctl {arguments[0]} failed: {output.decode()}")
        return output.decode()

    async def reload(self) -> None:
        """Have it read its certificate again, which it would do by itself within two minutes."""
        await self.control("eval", "ssl:clear_pem_cache().")

    async def take(self, definitions: Path) -> None:
        """Take users, permissions and policies from a file, beside those that are there.

        Raises:
            StartError: they were not taken.
        """
        await self.control("import_definitions", str(definitions))

    async def stop_app(self) -> None:
        """Stop the broker and keep the Erlang node: clients lose connections and get refused."""
        await self.control("stop_app")

    async def start_app(self) -> None:
        """Start the broker again after `stop_app`."""
        await self.control("start_app")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run the node for the time of a `with` block."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def _start(self, script: Path, account: Account | None, seconds: float) -> None:
        environment = self._environment()
        rotate(self.log)
        self.epmd = await self._start_epmd(environment)
        self.child = await Child.start(
            Command(
                name="rabbitmq",
                arguments=[str(script)],
                directory=self.directory,
                log=self.log,
                environment=environment,
                account=account,
                death_signal=signal.SIGTERM,
            )
        )
        speaks = speaks_amqp if self.ports.tls is None else listens
        await self.child.ready(lambda: speaks(self.ports.amqp), seconds=seconds)

    async def _start_epmd(self, environment: Mapping[str, str]) -> Child:
        """Start the name server in the foreground: a node's own would outlive the node."""
        epmd = shutil.which("epmd")
        if epmd is None:
            raise StartError("epmd is not installed: apt-get install erlang-base")
        child = await Child.start(
            Command(
                name="epmd",
                arguments=[epmd, "-port", str(self.ports.epmd), "-address", LOOPBACK],
                directory=self.directory,
                log=self.log.with_name("epmd.log"),
                environment=environment,
                account=unprivileged_account("rabbitmq", "nobody"),
            )
        )
        try:
            await child.ready(lambda: child.running and listens(self.ports.epmd), seconds=10)
        except BaseException:
            await child.stop(signal.SIGKILL, seconds=10)
            raise
        return child

    def _environment(self) -> dict[str, str]:
        here = self.directory
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LC_ALL": "C.UTF-8",
            "HOME": str(here / "home"),
            "ERL_EPMD_PORT": str(self.ports.epmd),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
            "RABBITMQ_LOG_BASE": str(here / "mnesia"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_DIST_PORT": str(self.ports.distribution),
            "RABBITMQ_PID_FILE": str(here / "mnesia" / "node.pid"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
            ),
            # No tool of the node may start a name server either, which would stay.
            "RABBITMQ_CTL_ERL_ARGS": "-start_epmd false",
            # Makes the start script exec the virtual machine: our child is the node itself, and
            # gets our signals and the kernel's word of our death.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _write_files(self, account: Account | None) -> None:
        home, mnesia = self.directory / "home", self.directory / "mnesia"
        for directory in (home, mnesia):
            directory.mkdir(mode=0o700, exist_ok=True)
            if account:
                os.chown(directory, account.uid, account.gid)
        cookie = home / ".erlang.cookie"
        if not cookie.exists():
            letters = "".join(secrets.choice(string.ascii_uppercase) for _ in range(32))
            _write(cookie, letters, 0o400, account)
        plugins = [
            *(["rabbitmq_prometheus"] if self.ports.prometheus else []),
            *(["rabbitmq_management"] if self.ports.management else []),
        ]
        _write(self.directory / "enabled_plugins", f"[{','.join(plugins)}].", 0o644, account)
        definitions = self.directory / "definitions.json"
        _write(definitions, json.dumps(self._definitions(), indent=1), 0o600, account)
        configuration = "\n".join([*self._configuration(definitions), ""])
        _write(self.directory / "rabbitmq.conf", configuration, 0o644, account)

    def _configuration(self, definitions: Path) -> list[str]:
        lines = [
            *broker_listeners(f"{LOOPBACK}:{self.ports.amqp}", self.ports.tls),
            f"load_definitions = {definitions}",
            "loopback_users.guest = true",
            "log.console = true",
            "log.console.level = info",
            "disk_free_limit.absolute = 256MB",
            "vm_memory_high_watermark.relative = 0.25",
        ]
        if self.ports.prometheus:
            lines.append(f"prometheus.tcp.ip = {LOOPBACK}")
            lines.append(f"prometheus.tcp.port = {self.ports.prometheus}")
        if self.ports.management:
            lines.append(f"management.tcp.ip = {LOOPBACK}")
            lines.append(f"management.tcp.port = {self.ports.management}")
        return lines

    @property
    def _has_user(self) -> bool:
        return not self._passwords or self.ports.management is not None

    async def _forget_user(self) -> None:
        """Remove the one user of everything that an earlier release has made here."""
        secret = self.directory / "password"
        if not self._has_user and secret.exists():
            await self.control("delete_user", USER)
            secret.unlink()

    def _definitions(self) -> dict[str, Any]:
        told: dict[str, Any] = {"users": [], "permissions": [], "vhosts": [{"name": _VHOST}]}
        if self._passwords:
            told = render_definitions(self._passwords, _VHOST)
        if self._has_user:
            everything = {"configure": ".*", "write": ".*", "read": ".*"}
            tag = "administrator" if self.ports.management else ""
            told["users"].append(user_definition(USER, self.password, tag))
            told["permissions"].append({"user": USER, "vhost": _VHOST, **everything})
        return told


def _write(path: Path, text: str, mode: int, account: Account | None) -> None:
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        if account:
            os.fchown(file.fileno(), account.uid, account.gid)
        file.write(text)
    draft.replace(path)
