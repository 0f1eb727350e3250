"""Takes a running stack to another release, or to the one before: see `rolling`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, Protocol

import httpx

from darkroom_common.clock import monotonic
from darkroom_local.engines.ports import PortBook
from darkroom_local.engines.process import Command
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ
from darkroom_local.engines.supervisor import Program, Supervised
from darkroom_local.stack.layout import Layout
from darkroom_local.stack.plan import Plan
from darkroom_local.stack.probe import not_ready_reason
from darkroom_local.stack.programs import Programs
from darkroom_local.stack.rolling import ORDER, Release, Roll, RollError, Wish
from darkroom_local.stack.state import trusting

_SECOND: Final = "-b"
Line = dict[str, Any]


class Rolled(Protocol):
    """A running stack, as it is seen from here."""

    layout: Layout
    rabbitmq: PrivateRabbitMQ | None

    @property
    def programs(self) -> Programs:
        """What runs beside the engines."""

    @property
    def authority_file(self) -> str | None:
        """The authority of its certificates."""

    @property
    def finish(self) -> Callable[[Command, str], Coroutine[Any, Any, None]]:
        """Runs a command to its end."""

    def service(self, name: str) -> Supervised:
        """Return one of the services."""

    def moved(self, name: str, health_url: str) -> None:
        """Note that a service has another process, which tells how it is elsewhere."""


class Change:
    """The releases that a running stack goes through.

    Args:
        stack: that runs.
        plan: by which it was started.
    """

    def __init__(self, stack: Rolled, plan: Plan) -> None:
        self._stack = stack
        self._plan = plan
        self._before: str | None = None
        self._books = dict.fromkeys(plan.health_ports, "")
        self._roll = Roll(self._begin, self._is_ready, self._swapped)

    @property
    def leaving(self) -> list[Program]:
        """Processes that were replaced and still serve who is with them."""
        return list(self._roll.leaving.values())

    async def make(self, wish: Wish) -> AsyncIterator[Line]:
        """Do what was asked for, and yield how far it is.

        Raises:
            RollError: it was not done, or not to its end; the text says what runs.
            StartError: a migration failed; nothing was replaced.
        """
        if wish.back and self._before is None:
            raise RollError("there is no release before: nothing was rolled since darkroom up")
        running = self._plan.python
        python = (self._before if wish.back else wish.python) or running
        release, runs = await asyncio.gather(Release.of(python), Release.of(running))
        names = [name for name in ORDER if not wish.services or name in wish.services]
        with_ports = [name for name in names if self._has_ports(name)]
        if with_ports and not release.takes_ports:
            raise RollError(
                f"{', '.join(with_ports)} of {python} cannot take over ports: stop darkroom up, and"
                " start it with that release"
            )
        began = monotonic()
        plan = replace(self._plan, python=python)
        if not (wish.back or release.is_older_than(runs)):
            yield {"text": "preparing database and broker for it", "step": "prepare"}
            await self._prepare(plan)
        self._plan = plan
        if python != running:
            self._before = running
        for number, name in enumerate(names, 1):
            seconds = await self._roll.replace(self._stack.service(name))
            yield {
                "text": f"[{number}/{len(names)}] {name}: the new process is in charge after"
                f" {seconds:.1f} s",
                "step": "replaced",
                "service": name,
                "seconds": round(seconds, 3),
                "pid": self._stack.service(name).pid,
            }
        if self._roll.leaving:
            yield {"text": "old processes finish what is with them", "step": "leaving"}
        await self._roll.gone()
        if wish.finish:
            await self._stack.finish(plan.migration("post"), "the migration of the schemas")
            self._before = None
        took = monotonic() - began
        yield {"text": f"done in {took:.1f} s", "done": True, "seconds": round(took, 3)}

    def _has_ports(self, name: str) -> bool:
        return bool(self._plan.ports().get(name))

    async def _prepare(self, plan: Plan) -> None:
        for what, command in self._stack.programs.preparations(plan, "pre"):
            await self._stack.finish(command, what)
        if self._stack.rabbitmq is not None:
            definitions = self._stack.rabbitmq.directory / "next-definitions.json"
            rendering = plan.definitions(definitions)
            try:
                await self._stack.finish(rendering, "what the broker has to know")
                await self._stack.rabbitmq.take(definitions)
            finally:
                definitions.unlink(missing_ok=True)

    async def _begin(self, name: str) -> tuple[Program, str]:
        book = _SECOND if not self._books[name] else ""
        port = PortBook(self._stack.layout.ports).port(f"health-{name}{book}")
        health_ports = {**self._plan.health_ports, name: port}
        plan = replace(self._plan, health_ports=health_ports)
        commands = {one.name: one for one in self._stack.programs.services(plan)}
        program = Program(commands[name])
        await program.start()
        return program, plan.health_url(name)

    def _swapped(self, name: str, health_url: str) -> None:
        self._books[name] = _SECOND if not self._books[name] else ""
        port = int(health_url.rpartition(":")[2])
        self._plan = replace(self._plan, health_ports={**self._plan.health_ports, name: port})
        self._stack.moved(name, health_url)

    async def _is_ready(self, health_url: str) -> str:
        trust = trusting(self._stack.authority_file)
        async with httpx.AsyncClient(timeout=5, trust_env=False, verify=trust) as client:
            try:
                return not_ready_reason(await client.get(f"{health_url}/readyz"))
            except httpx.HTTPError:
                return "does not answer"
