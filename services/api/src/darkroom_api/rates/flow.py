"""Limits of what is asked for by the thousand: by requests at a time, and by bytes (API-04).

Bytes are counted here and told to the database once a second, for all users in one statement; what
it answers has in it what other replicas have sent. Requests at a time are those of this replica.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from limits import RateLimitItem
from starlette.types import Message, Receive, Send

from darkroom_api.rates.classes import Class
from darkroom_api.rates.limits import RateLimits
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
TELL_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 1


@dataclass
class Flow:
    """Who has how much under way.

    Attributes:
        rates: refuses, and has the storage.
        at_once: requests of a user at a time, DICOMweb and polling apart.
        volume: bytes of DICOMweb to and from a user.
    """

    rates: RateLimits
    at_once: int
    volume: RateLimitItem
    _now: Counter[tuple[Class, str]] = field(default_factory=Counter)
    _bytes: Counter[str] = field(default_factory=Counter)
    _used_up: dict[str, float] = field(default_factory=dict)

    def of(self, kind: Class, who: str) -> "_Place":
        """Hold a request's place for the length of a block.

        Raises:
            ApiError: 429, on entering.
        """
        return _Place(self, kind, who)

    def enter(self, kind: Class, who: str) -> None:
        """Take a place; see `of`."""
        clock = self.rates.clock
        wait = self._used_up.get(who, 0.0) - clock.monotonic() if kind is Class.DICOMWEB else 0.0
        if wait > 0 or self._bytes[who] > self.volume.amount:
            raise self.rates.refuse(kind, int(wait) + 1)
        if self._now[kind, who] >= self.at_once:
            raise self.rates.refuse(kind, AGAIN_SECONDS)
        self._now[kind, who] += 1

    def leave(self, kind: Class, who: str) -> None:
        """Give a place back."""
        self._now[kind, who] -= 1
        if not self._now[kind, who]:
            del self._now[kind, who]

    def counted(self, who: str, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """Return both ends of a request of DICOMweb, whose bytes count."""

        async def receiving() -> Message:
            message = await receive()
            self._bytes[who] += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            self._bytes[who] += len(message.get("body", b"")) + message.get("count", 0)
            await send(message)

        return receiving, sending

    async def run(self) -> None:
        """Tell the database every second what has gone; cancel to stop."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await self.tell()

    async def tell(self) -> None:
        """Tell the database what has gone, and learn who has had enough."""
        gone, self._bytes = +self._bytes, Counter()
        if not gone:
            return
        keys = {self.volume.key_for(Class.DICOMWEB, who): who for who in gone}
        amounts = {key: gone[who] for key, who in keys.items()}
        try:
            counted = await self.rates.storage.add(
                amounts, self.volume.amount, self.volume.get_expiry()
            )
        except DependencyUnavailable as error:
            log.warning("rates.bytes_kept", reason=str(error))
            self._bytes.update(gone)
            return
        now = self.rates.clock.monotonic()
        self._used_up = {who: until for who, until in self._used_up.items() if until > now}
        for key, taken in counted.items():
            if not taken.window.left:
                self._used_up[keys[key]] = now + taken.window.free_in


class _Place:
    """A place of somebody's, for the length of a block."""

    def __init__(self, flow: Flow, kind: Class, who: str) -> None:
        self._flow, self._kind, self._who = flow, kind, who

    async def __aenter__(self) -> None:
        self._flow.enter(self._kind, self._who)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._flow.leave(self._kind, self._who)
