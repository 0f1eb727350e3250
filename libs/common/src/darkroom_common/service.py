"""Runs one service: signals, start, drain, stop, exit code.

    async def run(service: Service) -> None:      # the service's wiring
        async with open_database(...) as database:
            ...
            await service.run_until_stopped()

`main` turns SIGTERM and SIGINT into a drain: not ready at once, current work finishes within
`drain_seconds`, then everything is closed and the process exits 0. SIGUSR2 says that another
process has taken over: new work is left to it, and who is here has `hand_over_seconds` to go.
"""

import asyncio
import faulthandler
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import takewhile
from typing import Any, Final

from darkroom_common import health as health_server
from darkroom_common.clock import monotonic
from darkroom_common.errors import DarkroomError
from darkroom_common.health import Health
from darkroom_common.output import complain
from darkroom_common.postgres.migrate import migrate
from darkroom_common.settings import MigrationSettings, Settings
from darkroom_common.siblings import HAND_OVER, HealthOfSeveral, Several, Sibling, keep, kill, start
from darkroom_common.telemetry.foreign import asyncio_failed, guarded_process
from darkroom_common.telemetry.logs import configure_logs, get_logger
from darkroom_common.telemetry.metrics import common as metrics
from darkroom_common.telemetry.traces import configure_traces

log = get_logger(__name__)
LOOK_SECONDS: Final = 0.1
"""How often it is looked whether all clients have gone."""
COULD_NOT_RUN: Final = 2
"""The exit code of a command that could not do its work."""


class WorkEnded(DarkroomError):
    """Work that goes on for ever has ended; only a restart brings it back."""


@dataclass
class Service:
    """What the wiring of a service works with: its health, its tasks and the word to stop."""

    name: str
    health: Health
    drain_seconds: float
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    sibling: Sibling | None = None
    """Which of several processes of the service this is; None when it is the only one."""
    hand_over_seconds: float = 0.0
    """For which it may wait for its clients when another process has taken over."""
    is_handed_over: bool = False
    """It stops since another process has taken over."""
    told_to_end: asyncio.Event = field(default_factory=asyncio.Event)
    """It must not wait for its clients any more."""

    def hand_over(self) -> None:
        """Stop, and leave new work to another process."""
        self.is_handed_over = not self.stopping.is_set() or self.is_handed_over
        self.stopping.set()

    def stop(self) -> None:
        """Stop."""
        self.health.draining = True
        self.told_to_end.set()
        self.stopping.set()

    async def ready(self) -> None:
        """Wait until all dependencies are well, or until it is to stop."""
        while not self.stopping.is_set() and not (await self.health.report())[0]:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.stopping.wait()

    async def until(self, all_gone: Callable[[], bool]) -> None:
        """Wait for clients who go by themselves; no longer than they may take."""
        deadline = monotonic() + self.hand_over_seconds
        while not all_gone() and not self.told_to_end.is_set() and monotonic() < deadline:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.told_to_end.wait()

    @asynccontextmanager
    async def background(self, *works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Run endless work beside a block; it is cancelled when the block ends.

        Work that ends before, by an error or otherwise, stops the service: its error is raised to
        `main`, and whoever runs the service starts it again.

        Raises:
            WorkEnded: work has ended without an error.
        """
        tasks = [asyncio.create_task(work) for work in works]
        for task in tasks:
            task.add_done_callback(lambda _: self.stopping.set())
        try:
            yield
        finally:
            ended = [task for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result
            if ended:
                raise WorkEnded(f"{len(ended)} background tasks have ended by themselves")

    async def run_until_stopped(self) -> None:
        """Be ready until SIGTERM, SIGINT or the end of a background task; then not ready."""
        self.health.started = True
        log.info("service.started")
        await self.stopping.wait()
        if self.is_handed_over and not self.told_to_end.is_set():  # who is here is served as ever
            log.info("service.handed_over", limit=self.hand_over_seconds)
            return
        self.health.draining = True
        log.info("service.draining", limit=self.drain_seconds)


@dataclass(frozen=True)
class Command:
    """Work that ends, beside serving: `python -m darkroom_<service> <name> [arguments]`.

    `run` gets the service's settings and what follows the name, and returns the exit code. Its
    standard output is its own; the logs go to standard error. Asked how it is used (`--help`), it
    gets no settings: it looks at what follows the name first, tells that, and ends.
    """

    name: str
    run: Callable[[Any, Sequence[str]], Awaitable[int]]

    def __post_init__(self) -> None:
        if self.name == "migrate":
            raise ValueError("migrate is what every service does with its schema")


def main(  # noqa: PLR0913 - all by keyword
    name: str,
    *,
    settings: type[Settings],
    run: Callable[[Service, Any], Awaitable[None]],
    schema: str | None,
    commands: Sequence[Command] = (),
    argv: list[str] | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    several: Callable[[Any], Several] | None = None,
    before: Callable[[Any], object] = lambda _: None,
) -> int:
    """Be the command `python -m darkroom_<name> [migrate [pre|post]]`; return the exit code.

    `commands` are further ones; a `DarkroomError` in one of them is exit code 2. `several` says of
    settings in how many processes to serve, and where; `before` gets them when there is neither a
    thread nor a loop yet.
    """
    arguments = sys.argv[1:] if argv is None else argv
    faulthandler.enable()
    further = {command.name: command for command in commands}
    try:
        match arguments:
            case [first, *rest] if first in further:
                return _command(name, settings, further[first], rest)
            case []:
                loaded = settings.load()
                wanted = None if several is None else several(loaded)
                before(loaded)
                if wanted is None or wanted.count == 1:
                    return _serve(name, loaded, run, loop_factory)
                serve = partial(_serve, name, loaded, run, loop_factory)
                return _serve_as_several(name, loaded, wanted, serve)
            case ["migrate"] | ["migrate", "pre" | "post"]:
                return _migrate(name, schema, phase=(arguments[1:] or ["all"])[0])
            case _:
                choices = " | ".join(["migrate [pre|post]", *further])
                complain(f"usage: python -m darkroom_{name} [{choices}]")
                return COULD_NOT_RUN
    except DarkroomError as error:
        complain(f"darkroom_{name}: {error}")
        return 1


def _migrate(name: str, schema: str | None, *, phase: str) -> int:
    configured = MigrationSettings.load()
    configure_logs(service=name, level=configured.log_level, style=configured.log_format)
    if schema is None:
        log.info("migration.nothing", reason="this service has no schema")
        return 0
    url = configured.migration_url.get_secret_value()
    with guarded_process(stderr=False):
        done = asyncio.run(migrate(url, schema=schema, package=f"darkroom_{name}", phase=phase))
    log.info("migration.finished", schema=schema, applied=len(done))
    return 0


def asks_how(arguments: Sequence[str]) -> bool:
    """Tell whether what follows the name of a command asks how it is used."""
    options = takewhile(lambda one: one != "--", arguments)
    return not {"-h", "--help"}.isdisjoint(options)


def _command(name: str, settings: type[Settings], command: Command, rest: list[str]) -> int:
    try:
        loaded = None if asks_how(rest) else settings.load()
        if loaded is not None:
            configure_logs(
                service=name, level=loaded.log_level, style=loaded.log_format, stream=sys.stderr
            )

        async def run() -> int:
            asyncio.get_running_loop().set_exception_handler(asyncio_failed)
            return await command.run(loaded, rest)

        with guarded_process(stderr=False):
            return asyncio.run(run())
    except DarkroomError as error:
        complain(f"darkroom_{name} {command.name}: {error}")
    except KeyboardInterrupt:
        complain(f"darkroom_{name} {command.name}: interrupted")
    return COULD_NOT_RUN


def _serve_as_several(
    name: str, settings: Settings, several: Several, serve: Callable[[Sibling], int]
) -> int:
    """Be the process that keeps the others; it shows how they are, on the port of health."""
    siblings = start(several, serve)  # before there is a thread, or a loop
    configure_logs(service=name, level=settings.log_level, style=settings.log_format)
    release = version(f"darkroom-{name}")
    metrics.BUILD_INFO.labels(name, release).set(1)
    health = HealthOfSeveral(
        name, release, siblings=siblings, shows_metrics=settings.ff_monitoring_enabled
    )

    async def run() -> bool:
        asyncio.get_running_loop().set_exception_handler(asyncio_failed)
        stop_health = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                health_server.serve(
                    health,
                    host=settings.health_host,
                    port=settings.health_port,
                    stop=stop_health,
                    tls=settings.inner_tls,
                )
            )
            try:
                return await keep(
                    siblings,
                    health,
                    grace=settings.drain_seconds,
                    hand_over=settings.hand_over_seconds,
                )
            finally:
                stop_health.set()

    try:
        with guarded_process():
            well = asyncio.run(run())
    except* DarkroomError as group:
        log.error("service.failed", reason="; ".join(str(one) for one in _leaves(group)))
        well = False
    finally:
        kill(siblings)
    return 0 if well else 1


def _serve(
    name: str,
    settings: Settings,
    run: Callable[[Service, Any], Awaitable[None]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
    sibling: Sibling | None = None,
) -> int:
    configure_logs(
        service=name,
        level=settings.log_level,
        style=settings.log_format,
        security=settings.security_log,
    )
    provider = configure_traces(
        service=name, endpoint=settings.otlp_endpoint, directory=settings.trace_directory
    )
    release = version(f"darkroom-{name}")
    if sibling is None:
        metrics.BUILD_INFO.labels(name, release).set(1)
    failed: list[BaseException] = []
    try:
        with guarded_process(), asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_run(name, release, settings, run, sibling))
    except* DarkroomError as group:
        failed = _leaves(group)
    finally:
        provider.shutdown()
    if failed:
        log.error("service.failed", reason="; ".join(str(error) for error in failed))
        return 1
    log.info("service.stopped")
    return 0


def _leaves(group: BaseExceptionGroup[DarkroomError]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _run(
    name: str,
    release: str,
    settings: Settings,
    run: Callable[[Service, Any], Awaitable[None]],
    sibling: Sibling | None,
) -> None:
    service = Service(
        name,
        Health(name, release, shows_metrics=settings.ff_monitoring_enabled),
        settings.drain_seconds,
        sibling=sibling,
        hand_over_seconds=settings.hand_over_seconds,
    )
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(asyncio_failed)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    loop.add_signal_handler(HAND_OVER, service.hand_over)
    stop_health = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        if sibling is None:
            answering = health_server.serve(
                service.health,
                host=settings.health_host,
                port=settings.health_port,
                stop=stop_health,
                tls=settings.inner_tls,
            )
        else:
            answering = sibling.answer(service.health, stop_health)
        tasks.create_task(answering)
        try:
            await run(service, settings)
        finally:
            stop_health.set()
