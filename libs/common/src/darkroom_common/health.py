"""`/livez`, `/readyz` and `/metrics` of one service, on a port of their own.

`/livez` says that the event loop turns. `/readyz` asks every dependency, each within 2 s, and
gives a reason for each; it answers 503 while any of them fails or the service drains.
"""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.registry import Collector

from darkroom_common.errors import ConfigurationError
from darkroom_common.telemetry import metrics

CHECK_LIMIT: Final = 2.0  # seconds
Check = Callable[[], Awaitable[None]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Unhealthy(Exception):
    """A check failed; the text is shown to operators and holds neither PHI nor a secret."""


@dataclass
class Health:
    """The dependencies of one service and whether it takes work."""

    service: str
    version: str
    checks: dict[str, Check] = field(default_factory=dict)
    only_told: set[str] = field(default_factory=set)
    draining: bool = False
    started: bool = False
    metrics: Collector = REGISTRY

    def add(self, dependency: str, check: Check, *, needed: bool = True) -> None:
        """Register a check: it returns when all is well and raises when not.

        Args:
            dependency: its name in `/readyz` and in metrics.
            check: called for every report.
            needed: False for what is told but does not decide: the service works without it.
        """
        self.checks[dependency] = check
        if not needed:
            self.only_told.add(dependency)

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Return (ready, the body of `/readyz`).

        What a check said before the service was started does not count as ready: its consumers may
        not have been there yet.
        """
        reason = "draining" if self.draining else None if self.started else "starting"
        results = await asyncio.gather(*(self._run(name) for name in self.checks))
        checks = dict(zip(self.checks, results, strict=True))
        if self.draining:
            reason = "draining"
        if reason is not None:
            checks["service"] = {"ok": False, "reason": reason}
        ready = all(result["ok"] for name, result in checks.items() if name not in self.only_told)
        metrics.READY.labels(self.service).set(ready)
        return ready, {
            "status": "ready" if ready else "not ready",
            "service": self.service,
            "version": self.version,
            "checks": checks,
        }

    async def _run(self, name: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(CHECK_LIMIT):
                await self.checks[name]()
        except TimeoutError:
            result = {"ok": False, "reason": f"no answer within {CHECK_LIMIT:g} s"}
        except Unhealthy as error:
            result = {"ok": False, "reason": str(error)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the dependency is not well
            result = {"ok": False, "reason": type(error).__name__}
        else:
            result = {"ok": True, "reason": "ok"}
        metrics.DEPENDENCY_UP.labels(name).set(bool(result["ok"]))
        return result

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an ASGI application without a framework, to stay small."""
        if scope["type"] != "http":
            return
        del receive
        status, kind, body = 404, b"application/json", b'{"detail": "not found"}'
        match scope["path"]:
            case "/livez":
                status, body = 200, b'{"status": "alive"}'
            case "/readyz":
                ready, report = await self.report()
                status, body = (200 if ready else 503), json.dumps(report).encode()
            case "/metrics":
                status, kind, body = (
                    200,
                    CONTENT_TYPE_LATEST.encode(),
                    generate_latest(self.metrics),
                )
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class QuietServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the service runner owns the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket.

    Raises:
        ConfigurationError: the address is taken or is not one of this machine.
    """
    try:
        return socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error


async def serve_http(config: uvicorn.Config, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve an ASGI application on `listener` until `stop` is set, then finish what is open."""
    server = QuietServer(config)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[listener]))
        stopping = tasks.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stopping.cancel()


async def serve(health: Health, *, host: str, port: int, stop: asyncio.Event) -> None:
    """Serve the three paths until `stop` is set.

    Raises:
        ConfigurationError: the port is taken.
    """
    config = uvicorn.Config(
        health.app,
        interface="asgi3",
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    await serve_http(config, listen(host, port), stop)
