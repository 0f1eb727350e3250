"""`/livez`, `/readyz` and `/metrics` of one service, on a port of their own.

`/livez` says that the event loop turns. `/readyz` asks every dependency, each within 2 s, and
gives a reason for each; it answers 503 while any of them fails or the service drains.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.registry import Collector

from darkroom_common.errors import Unhealthy
from darkroom_common.http.exchange import Receive, Scope, Send
from darkroom_common.http.limits import OF_HEALTH
from darkroom_common.http.server import HttpServer, listen
from darkroom_common.links.inner import INNER, InnerTls
from darkroom_common.telemetry.metrics import Shown
from darkroom_common.telemetry.metrics import common as metrics

CHECK_LIMIT: Final = 2.0  # seconds
Check = Callable[[], Awaitable[None]]
GRACE: Final = 2.0


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
    shows_metrics: bool = True
    _asking: "asyncio.Task[tuple[bool, dict[str, Any]]] | None" = None

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

        However many ask at a time, the dependencies are asked once. What a check said before the
        service was started does not count as ready: its consumers may not have been there yet.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._report())
        return await asyncio.shield(self._asking)

    async def _report(self) -> tuple[bool, dict[str, Any]]:
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
            case "/metrics" if self.shows_metrics:
                await self.report()  # what it says of dependencies is of now
                status, kind, body = (
                    200,
                    CONTENT_TYPE_LATEST.encode(),
                    generate_latest(Shown(self.service, self.metrics)),
                )
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def serve(
    health: Health, *, host: str, port: int, stop: asyncio.Event, tls: InnerTls | None = None
) -> None:
    """Serve the three paths until `stop` is set.

    Raises:
        ConfigurationError: the port is taken, or a certificate cannot be used.
    """
    server = HttpServer("health", health.app, limits=OF_HEALTH)
    shown = None if tls is None else tls.server()
    if shown is not None:
        health.add("tls", shown.check, needed=False)  # the older one is still good
    await server.serve(listen(host, port), stop, grace=GRACE, tls=shown, certificate=INNER)
