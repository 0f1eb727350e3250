"""Asks all nodes of a kind again and again, a few at a time, and keeps what they say.

What is due is a column of the node's row: whoever claims it puts the next one off, in the same
statement. So of several replicas one asks, and one that dies while it asks is not missed for long.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from darkroom_common.clock import monotonic
from darkroom_common.echoes.echo import PUT_OFF_SECONDS, Echo, Standing
from darkroom_common.echoes.places import Places
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.events import NodeStateChanged
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Database
from darkroom_common.resources.resource import Resource
from darkroom_common.resources.stored import Stored
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import echoes as metrics

log = get_logger(__name__)
AT_ONCE: Final = 8
"""Nodes that are asked at a time, by one process."""
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 10.0
"""Nobody is waited for longer, whatever patience its work has with it."""
_LOOK_SECONDS: Final = 5.0
_LONGEST_REASON: Final = 200

_CLAIM: Final = """
UPDATE TABLE AS kept SET echo_due_at = now() + make_interval(secs => $2)
FROM (
    SELECT name FROM TABLE
    WHERE name = ANY($1::text[]) AND (
        echo_due_at IS NULL OR echo_due_at <= now() OR echo_version IS DISTINCT FROM version
        OR echo_due_at > now() + make_interval(secs => 2 * $2)
    )
    ORDER BY echo_due_at NULLS FIRST LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
) AS due
WHERE kept.name = due.name RETURNING kept.name
"""
"""The last condition: the clock was set back, or the setting is another one now."""
_ANOTHER: Final = (
    "UPDATE TABLE SET echo_version = version, echo_failures = 0"
    " WHERE name = ANY($1::text[]) AND echo_version IS DISTINCT FROM version"
)
"""What failed was said of what it was."""
_PUT_OFF: Final = "UPDATE TABLE SET echo_due_at = now() + make_interval(secs => $2) WHERE name = $1"
_BEFORE: Final = (
    "SELECT echo_state, echo_failures FROM TABLE"
    " WHERE name = $1 AND id = $2 AND version = $3 FOR NO KEY UPDATE"
)
_KEEP: Final = """
UPDATE TABLE SET echo_state = $2, echo_failures = $3, echo_reason = $4, echo_seconds = $5,
    echo_at = now(), echo_version = version, echo_due_at = now() + make_interval(secs => $6),
    echo_since = CASE WHEN echo_state = $2 THEN echo_since ELSE now() END
WHERE name = $1 RETURNING echo_since
"""
_UNASKED: Final = (
    "UPDATE TABLE SET echo_state = '', echo_failures = 0, echo_reason = '', echo_since = NULL,"
    " echo_due_at = NULL WHERE echo_due_at IS NOT NULL AND NOT name = ANY($1::text[])"
)
"""What nobody asks is not known."""
_SHOWN: Final = (
    "SELECT name, echo_state, echo_seconds,"
    " extract(epoch FROM echo_at)::double precision AS echo_at FROM TABLE"
    " WHERE name = ANY($1::text[]) AND echo_state <> ''"
)


N = TypeVar("N", bound=Stored[Any])


@dataclass
class Rounds(Generic[N]):
    """The rounds of one process.

    Attributes:
        resource: whose table has the columns `echo_...`.
        wanted: returns what there is.
        ask: asks one, and returns why it has not answered; nothing when it has.
        places: that its work takes, too.
        count: how many places there are of a node.
        every: seconds between two echoes; 0 for none.
        patience: for a place, while its work has them all.
        answered: is told of each one that has answered.
    """

    database: Database
    resource: Resource[Any]
    outbox: Outbox
    wanted: Callable[[], Awaitable[Sequence[N]]]
    ask: Callable[[N], Awaitable[str]]
    places: Places
    count: Callable[[N], int]
    every: float
    answered: Callable[[str], None] = lambda _: None
    patience: float = 5.0
    chance: Callable[[], float] = random.random
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _shown: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Go on until cancelled."""
        try:
            while True:
                self._room.clear()
                try:
                    await self._round()
                except DependencyUnavailable as error:
                    log.warning("echoes.wait", kind=self.resource.kind, reason=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(_LOOK_SECONDS, self.every or _LOOK_SECONDS)):
                        await self._room.wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _round(self) -> None:
        nodes = {
            one.name: one
            for one in await self.wanted()
            if self.every and one.spec.enabled and one.spec.echo and not one.unreadable
        }
        async with self.database.transaction() as db:
            await db.execute(self._sql(_UNASKED), list(nodes))
            rows = await db.fetch(
                self._sql(_CLAIM),
                [name for name in nodes if name not in self._tasks],
                self.every,
                AT_ONCE - len(self._tasks),
            )
            claimed = [row["name"] for row in rows]
            if claimed:
                await db.execute(self._sql(_ANOTHER), claimed)
            shown = await db.fetch(self._sql(_SHOWN), list(nodes))
        self._show(shown)
        for name in claimed:
            task = asyncio.create_task(self._echo(nodes[name]), name=name)
            self._tasks[name] = task
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if len(self._tasks) == AT_ONCE:  # others may have waited for it
            self._room.set()
        self._tasks.pop(task.get_name(), None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Where, not what: its text may hold what was received.
            name, word = task.get_name(), type(error).__name__
            log.error("echo.not_understood", kind=self.resource.kind, name=name, error=word)

    async def _echo(self, node: N) -> None:
        places = self.places.of(node.name, self.count(node))
        try:
            async with asyncio.timeout(self.patience):
                await places.acquire()
        except TimeoutError:
            metrics.ECHOES.labels(self.resource.kind, node.name, "put-off").inc()
            with suppress(DependencyUnavailable):
                async with self.database.acquire() as db:
                    seconds = min(self.every, PUT_OFF_SECONDS)
                    await db.execute(self._sql(_PUT_OFF), node.name, seconds)
            return
        began = monotonic()
        try:
            reason = await self.ask(node)
        finally:
            places.release()
        echo = Echo(reason, monotonic() - began)
        metrics.ECHOES.labels(
            self.resource.kind, node.name, "failed" if reason else "answered"
        ).inc()
        with suppress(DependencyUnavailable):  # the next one is kept
            await self.keep(node, echo)

    async def keep(self, node: N, echo: Echo) -> None:
        """Keep what an echo has said, and say so when the node's state is another one.

        Of a node that is another one by now, nothing is kept.

        Raises:
            DependencyUnavailable: the database is away.
        """
        reason = echo.reason[:_LONGEST_REASON]
        async with self.database.transaction() as db:
            row = await db.fetchrow(self._sql(_BEFORE), node.name, node.id, node.version)
            if row is None:
                return
            before = Standing(row["echo_state"], row["echo_failures"])
            now = before.after(echo)
            due = now.due(self.every, self.chance())
            since = await db.fetchval(
                self._sql(_KEEP), node.name, now.state, now.failures, reason, echo.seconds, due
            )
            changed = now.state != before.state
            if changed:
                await self.outbox.put(
                    db,
                    NodeStateChanged(
                        kind=self.resource.kind,
                        name=node.name,
                        state=now.state,
                        reason=reason,
                        since=since,
                    ),
                )
        if changed:
            tell = log.info if now.state == "UP" else log.warning
            tell("node.changed", kind=self.resource.kind, name=node.name, reason=reason)
        if not reason:
            self.answered(node.name)

    def _show(self, rows: Sequence[Any]) -> None:
        """Show what the table has, so that every replica says the same."""
        kind = self.resource.kind
        for row in rows:
            labels = kind, row["name"]
            metrics.ECHO_UP.labels(*labels).set(row["echo_state"] == "UP")
            metrics.ECHO_SECONDS.labels(*labels).set(row["echo_seconds"])
            metrics.ECHO_AT.labels(*labels).set(row["echo_at"])
        names = frozenset(row["name"] for row in rows)
        for name in self._shown - names:
            for metric in (metrics.ECHO_UP, metrics.ECHO_SECONDS, metrics.ECHO_AT):
                metric.remove(kind, name)
        self._shown = names

    def _sql(self, statement: str) -> str:
        return statement.replace("TABLE", self.resource.table)
