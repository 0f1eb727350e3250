"""Everything of Darkroom on one machine: started in order, kept running, stopped in order."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg
import httpx

from darkroom_common.amqp.permissions import USERS
from darkroom_common.clock import monotonic, wall_seconds
from darkroom_common.topology import render_policies
from darkroom_local.engines.ports import PortBook, is_free
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.engines.process import Child, Command, StartError, reclaim, rotate
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ, RabbitPorts
from darkroom_local.engines.supervisor import Program, Runnable, Supervised
from darkroom_local.stack.announcement import announcement, offer_link
from darkroom_local.stack.certificates import certificates
from darkroom_local.stack.change import Change
from darkroom_local.stack.keyring import Keyring
from darkroom_local.stack.layout import COMMITMENT_PORT, SERVICES, Layout, Settings
from darkroom_local.stack.listeners import Listeners
from darkroom_local.stack.plan import Plan, host_of
from darkroom_local.stack.probe import not_ready_reason
from darkroom_local.stack.programs import Programs, RealPrograms
from darkroom_local.stack.rolling import Desk
from darkroom_local.stack.state import ProcessState, StackState, states, trusting
from darkroom_local.stack.view import SteadyConsole, View

DATABASE: Final = "darkroom"
_PREPARATION_SECONDS: Final = 300
_STOP_SECONDS: Final = 25  # five more than a service takes at most for its drain
_HURRY_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 45


class PortBusyError(RuntimeError):
    """A port that people were promised is in use; the text names it."""


class Stack:
    """One run of the stack. The caller holds the lock of the data directory."""

    def __init__(
        self, settings: Settings, console: SteadyConsole, programs: Programs | None = None
    ) -> None:
        self.settings = settings
        self.layout = Layout(settings.data)
        self.keyring = Keyring(self.layout)
        self._certificates = certificates(self.settings, self.layout)
        self.processes: list[Supervised] = []
        self.view = View(console, self._states)
        self.postgres: PrivatePostgres | None = None
        self.rabbitmq: PrivateRabbitMQ | None = None
        self._programs = programs or RealPrograms()
        self._services: list[Supervised] = []
        self._health: dict[str, str] = {}
        self._began = monotonic()
        self._started = wall_seconds()
        self._announced = False
        self._listeners: Listeners | None = None
        self._change: Change | None = None
        self._ready = asyncio.Event()
        self._impatient = False
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    def stop(self) -> None:
        """Ask for an orderly stop; asked twice, for a quick one."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self) -> None:
        """Start everything, keep it running until `stop`, and stop it.

        Raises:
            StartError: an engine, the bootstrap or a migration failed.
            PortBusyError: a port is in use.
            KeysLostError: the data cannot be read any more.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
        try:
            await self._until_stopped(self._start_and_keep())
        finally:
            await self._stop_all()
            self.layout.control.unlink(missing_ok=True)
            self.layout.state.unlink(missing_ok=True)

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until it fails or `stop` is called."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)

    async def _start_and_keep(self) -> None:
        self.layout.make()
        self.keyring.make()
        if self._certificates is not None:
            self._certificates.authority.renew()
        await self._reclaim()
        self._check_ports()
        plan = self._plan()
        self._listeners = Listeners(plan.ports())
        plan = replace(plan, listeners=self._listeners)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.view.refresh())
            async with asyncio.TaskGroup() as starting:
                starting.create_task(self._prepare_database(plan))
                starting.create_task(self._prepare_broker())
            for process in self.processes:
                tasks.create_task(process.keep())
            for command in self._programs.services(plan):
                rotate(command.log)
                service = self._supervise(command.name, Program(command))
                self._health[command.name] = plan.health_url(command.name)
                self._services.append(service)
                await service.start()
                tasks.create_task(service.keep())
            self._write_targets()
            change = self._change = Change(self, plan)
            tasks.create_task(Desk(self.layout.control, change.make).run())
            tasks.create_task(self._check_health())
            tasks.create_task(offer_link(self._ready, self.view, self.settings))
            if self._certificates is not None:
                tasks.create_task(self._certificates.keep(self.postgres, self.rabbitmq))

    async def _reclaim(self) -> None:
        """End what a killed predecessor left, so that the ports of last time are free."""
        found = []
        for directory in (self.layout.data, self.layout.rabbitmq, self.layout.postgres):
            found += await reclaim(directory, gently=signal.SIGTERM, seconds=2)
        if found:
            self.view.say(f"ended {len(found)} processes that an earlier run had left")

    def _choose_commitment_port(self) -> None:
        """Take the usual port unless somebody has it: nobody has asked for that one."""
        if self.settings.commitment_port is not None:
            return
        port = COMMITMENT_PORT
        ours = (self.settings.dicom_port, self.settings.http_port)
        if port in ours or not is_free(port, host_of("COMMITMENT")):
            port = PortBook(self.layout.ports).port("commitment")
            self.view.say(f"port {COMMITMENT_PORT} is in use: storage commitment is on {port}")
        self.settings = replace(self.settings, commitment_port=port)

    def _check_ports(self) -> None:
        self._choose_commitment_port()
        for what, name, port in (
            ("DICOM", "DICOM", self.settings.plain_dicom_port),
            ("DICOM", "DICOM_TLS", self.settings.dicom_tls_port),
            ("HTTP", "HTTP", self.settings.http_port),
            ("commitment", "COMMITMENT", self.settings.commitment_port),
        ):
            host = self.settings.http_host if name == "HTTP" else host_of(name.partition("_")[0])
            if port and not is_free(port, host):
                raise PortBusyError(
                    f"{what} port {port} is in use: stop what listens there, or choose another "
                    f"with --{name.lower().replace('_', '-')}-port or DARKROOM_{name}_PORT"
                )

    def _plan(self) -> Plan:
        ports = PortBook(self.layout.ports)
        if self.settings.postgres_url is None:
            self.postgres = PrivatePostgres(
                self.layout.postgres, port=ports.port("postgres"), log=self.layout.log("postgres")
            )
            if self._certificates is not None:
                self.postgres.encrypt(self._certificates.pair("postgres"))
        if self.settings.amqp_url is None:
            self.rabbitmq = PrivateRabbitMQ(
                self.layout.rabbitmq,
                ports=RabbitPorts(
                    amqp=ports.port("amqp"),
                    epmd=ports.port("epmd"),
                    distribution=ports.port("distribution"),
                    tls=None if self._certificates is None else self._certificates.pair("rabbitmq"),
                ),
                passwords=self.keyring.amqp_passwords(),
                log=self.layout.log("rabbitmq"),
            )
        return Plan(
            settings=self.settings,
            layout=self.layout,
            keyring=self.keyring,
            superuser_url=self.settings.postgres_url
            or (self.postgres and self.postgres.superuser_url(DATABASE))
            or "",
            amqp_urls={name: self._amqp_url(name) for name in SERVICES},
            health_ports={name: ports.port(f"health-{name}") for name in SERVICES},
            stow_port=ports.port("stow"),
        )

    def _amqp_url(self, service: str) -> str:
        """Return the way to the broker: ours has a user for each service."""
        if self.rabbitmq is None:
            return self.settings.amqp_url or ""
        return self.rabbitmq.url(user=USERS[service])

    async def _prepare_database(self, plan: Plan) -> None:
        if self.postgres:
            await self._supervise("postgres", self.postgres).start()
            await create_database(self.postgres.superuser_url())
        else:
            where = urlsplit(plan.superuser_url)
            self.view.say(f"using the PostgreSQL of DARKROOM_POSTGRES_URL at {where.hostname}")
        rotate(self.layout.log("migrate"))
        self.view.say("preparing the database")
        for what, command in self._programs.preparations(plan):
            await self.finish(command, what)

    async def _prepare_broker(self) -> None:
        if self.rabbitmq:
            await self._supervise("rabbitmq", self.rabbitmq).start()
        else:
            where = urlsplit(self.settings.amqp_url or "")
            vhost = unquote(where.path.removeprefix("/")) or "/"
            rendered = self.layout.data / "run" / "policies.json"
            rendered.write_text(json.dumps({"policies": render_policies(vhost)}, indent=1))
            self.view.say(
                f"using the RabbitMQ of DARKROOM_AMQP_URL at {where.hostname}; give it the "
                f"policies once: rabbitmqctl import_definitions {rendered}"
            )

    async def finish(self, command: Command, what: str) -> None:
        """Run a command to its end."""
        child = await Child.start(command)
        try:
            async with asyncio.timeout(_PREPARATION_SECONDS):
                code = await child.wait()
        except TimeoutError:
            raise child.failure(f"({what}) took over {_PREPARATION_SECONDS} s") from None
        finally:
            await child.stop(seconds=5)
        if code != 0:
            hint = ""
            if self.postgres is None:
                hint = (
                    "DARKROOM_POSTGRES_URL must name a role that may create extensions, roles "
                    "and schemas. "
                )
            raise StartError(f"{hint}{child.failure(f'({what}) failed with code {code}')}")

    async def _check_health(self) -> None:
        """Ask every service how it is, more often until all are ready."""
        trust = trusting(self.authority_file)
        async with httpx.AsyncClient(timeout=3, trust_env=False, verify=trust) as client:
            while True:
                await asyncio.gather(*(self._ask(client, one) for one in self._services))
                for engine in self.processes:
                    if engine not in self._services:
                        engine.checked(ready=engine.pid is not None)
                if not self._announced:
                    self._announce()
                await asyncio.sleep(5 if self._announced else 0.2)

    def _announce(self) -> None:
        """Say that all is ready, or, once, for what it takes so long."""
        waiting = [one for one in self.processes if not one.ready]
        if not waiting:
            self._announced = True
            took = monotonic() - self._began
            self.view.banner(announcement(self.settings, self.layout, took))
            self._ready.set()
        elif not self._impatient and monotonic() - self._began > _PATIENCE_SECONDS:
            self._impatient = True
            for one in waiting:
                why = one.reason or "does not answer yet"
                self.view.say(f"still waiting for {one.name}: {why}; {self.layout.log(one.name)}")

    def service(self, name: str) -> Supervised:
        """Return one of the services."""
        return next(one for one in self._services if one.name == name)

    def moved(self, name: str, health_url: str) -> None:
        """Note that a service has another process, which tells how it is elsewhere."""
        self._health[name] = health_url
        self._write_targets()
        self._changed(self.service(name))

    def _write_targets(self) -> None:
        draft = self.layout.targets.with_suffix(".new")
        draft.write_text(json.dumps(self._health))
        draft.replace(self.layout.targets)

    async def _ask(self, client: httpx.AsyncClient, service: Supervised) -> None:
        try:
            response = await client.get(f"{self._health[service.name]}/readyz")
            service.checked(
                ready=response.status_code == httpx.codes.OK, reason=not_ready_reason(response)
            )
        except httpx.HTTPError:
            # Before the first answer that is what starting looks like, and no news.
            service.checked(ready=False, reason="does not answer" if self._announced else "")

    async def _stop_all(self) -> None:
        """Services first, which finish what they are at; then the engines they work with."""
        self.view.say("stopping (Ctrl-C again to hurry)")
        if self._listeners is not None:
            self._listeners.close()
        await self._or_hurry(
            self._stop_services(_STOP_SECONDS), lambda: self._stop_services(_HURRY_SECONDS)
        )
        if self.rabbitmq:
            await self._or_hurry(self.rabbitmq.stop(), self.rabbitmq.kill)
        if self.postgres:
            await self.postgres.stop("immediate" if self._hurry.is_set() else "fast")
        for directory in (self.layout.data, self.layout.rabbitmq, self.layout.postgres):
            await reclaim(directory, gently=signal.SIGKILL)
        self.view.say("stopped")

    async def _or_hurry(
        self, orderly: Coroutine[Any, Any, None], quick: Callable[[], Awaitable[None]]
    ) -> None:
        """Run `orderly`; when asked to hurry, cancel it and run `quick`."""
        working = asyncio.ensure_future(orderly)
        hurrying = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({working, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await quick()
        else:
            working.result()

    async def _stop_services(self, seconds: float) -> None:
        async def stop(service: Supervised) -> None:
            service.set("stopping")
            if isinstance(service.runnable, Program):
                await service.runnable.stop(seconds=seconds)
            service.set("stopped")

        left = [] if self._change is None else self._change.leaving
        await asyncio.gather(
            *(stop(service) for service in self._services),
            *(program.stop(seconds=seconds) for program in left),
        )

    def _supervise(self, name: str, runnable: Runnable) -> Supervised:
        process = Supervised(name, runnable, self._changed)
        self.processes.append(process)
        return process

    @property
    def programs(self) -> Programs:
        """What runs beside the engines."""
        return self._programs

    @property
    def authority_file(self) -> str | None:
        """The authority of its certificates; None without `--tls`."""
        return None if self.settings.tls is None else str(self.layout.tls / "ca.pem")

    def _states(self) -> list[ProcessState]:
        logs: dict[str, Path] = {one.name: self.layout.log(one.name) for one in self.processes}
        return states(self.processes, logs, self._health)

    def _changed(self, process: Supervised) -> None:
        now = self._states()
        StackState(
            pid=os.getpid(),
            started=self._started,
            ae_title=self.settings.ae_title,
            dicom_port=self.settings.dicom_port,
            http_port=self.settings.http_port,
            http_host=self.settings.http_host,
            http_tls=self.settings.http_tls,
            dicom_tls_port=self.settings.dicom_tls_port,
            authority=self.authority_file,
            processes=now,
        ).write(self.layout.state)
        self.view.changed(next(one for one in now if one.name == process.name))


async def create_database(superuser_url: str) -> None:
    """Make the database `DATABASE` of a server, unless it has it."""
    connection = await asyncpg.connect(superuser_url, timeout=10)
    try:
        known = "SELECT 1 FROM pg_database WHERE datname = $1"
        if await connection.fetchval(known, DATABASE) is None:
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await connection.close()
