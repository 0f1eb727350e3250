"""A load that goes on while something is done to the stack: senders, and clients of HTTP.

Nothing is tried twice: what is refused, or broken off, is counted.
"""

import asyncio
import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import httpx

from tests.e2e.user import DarkroomUp
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import Association, Rejected
from tests.support.stow import TYPE, a_body, a_file
from tests.support.waiting import lasting

SETTINGS: Final = {
    "DARKROOM_LIMIT_DEFAULT": "1000000/minute",
    "DARKROOM_LIMIT_BULK": "1000000/minute",
    "DARKROOM_LIMIT_ANONYMOUS": "1000000/minute",
    "DARKROOM_LIMIT_LOGIN": "1000000/minute",
    "DARKROOM_LOG_LEVEL": "INFO",
}
_SENDERS: Final = 4
_OF_AN_ASSOCIATION: Final = 10
_STAYS: Final = 8
"""Objects on an association that stays, one a second."""
_SYNTAX: Final = "1.2.840.10008.1.2.1"


def _uid() -> str:
    """A UID that is always as long."""
    return f"2.25.{uuid.uuid4().int % 10**36 + 10**36}"


class Objects:
    """CT images of one study, each made from the last by its UID alone."""

    def __init__(self, study: str) -> None:
        self._uid = _uid()
        series = new_uid()
        one = a_data_set(SOPInstanceUID=self._uid, StudyInstanceUID=study, SeriesInstanceUID=series)
        self._data_set = encode(one)

    def next(self) -> tuple[str, bytes]:
        """The UID of the next one and its data set."""
        uid = _uid()
        return uid, self._data_set.replace(self._uid.encode(), uid.encode())


@dataclass
class Load:
    """What was asked of a stack, and what became of it.

    Attributes:
        per_second: objects that the senders offer together.
        stored: UIDs that were answered with success.
        unanswered: UIDs of what may be there, or not.
        failed: by what was asked and what came of it.
        asked: by what was asked.
        slowest: seconds that the slowest answer took, by what was asked.
    """

    darkroom: DarkroomUp
    per_second: float
    study: str = field(default_factory=new_uid)
    stored: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _turns: "itertools.count[int]" = field(default_factory=itertools.count)
    _began: float = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load it for the time of a block; then let what is under way end."""
        self._began = time.monotonic()
        senders = [threading.Thread(target=self._send) for _ in range(_SENDERS)]
        senders.append(threading.Thread(target=self._stay))
        for sender in senders:
            sender.start()
        clients = [
            asyncio.create_task(work)
            for work in (
                self._ask("health", "GET", "/api/v1/health", keep=False),
                self._ask("health, kept", "GET", "/api/v1/health", keep=True),
                self._search(keep=False),
                self._search(keep=True),
                self._stow(),
                self._sign_in(),
            )
        ]
        try:
            yield
        finally:
            self._stop.set()
            ended = await asyncio.gather(*clients, return_exceptions=True)
            for sender in senders:
                await asyncio.to_thread(sender.join)
        for error in ended:
            assert error is None, error

    def rate(self) -> float:
        """Objects that were stored by C-STORE, a second, so far."""
        return self.asked["C-STORE"] / (time.monotonic() - self._began)

    def text(self) -> str:
        """All of it in a line."""
        asked = ", ".join(f"{count} {what}" for what, count in sorted(self.asked.items()))
        slowest = max(self.slowest.items(), key=lambda one: one[1], default=("", 0.0))
        return (
            f"{asked}; {self.rate():.0f} objects/s; failed: {dict(self.failed) or 'none'};"
            f" slowest: {slowest[0]} {slowest[1]:.2f} s"
        )

    def _note(self, what: str, began: float, failure: str = "", uid: str = "") -> None:
        took = time.monotonic() - began
        with self._lock:
            self.asked[what] += 1
            self.slowest[what] = max(self.slowest.get(what, 0.0), took)
            if failure:
                self.failed[f"{what}: {failure}"] += 1
                self.unanswered += [uid] if uid else []
            elif uid:
                self.stored.append(uid)

    def _wait_for_turn(self) -> None:
        """Keep to the pace; whoever is late catches up."""
        with self._lock:
            due = self._began + next(self._turns) / self.per_second
        self._stop.wait(max(0.0, due - time.monotonic()))

    def _send(self) -> None:
        """Send, some objects on each association, until it is enough."""
        objects = Objects(self.study)
        while not self._stop.is_set():
            self._associate(objects, lambda sent: sent < _OF_AN_ASSOCIATION, self._wait_for_turn)

    def _stay(self) -> None:
        """Keep an association for long, with an object now and then."""
        objects = Objects(self.study)
        while not self._stop.is_set():
            self._associate(objects, lambda sent: sent < _STAYS, lambda: self._stop.wait(1))

    def _associate(
        self, objects: Objects, more: Callable[[int], bool], wait: Callable[[], object]
    ) -> None:
        began, sent = time.monotonic(), 0
        try:
            association = Association(self.darkroom.dicom_port, {1: (CT, _SYNTAX)})
        except (OSError, Rejected) as error:
            self._note("association", began, str(error))
            return
        self._note("association", began)
        with suppress(OSError), association:
            while more(sent) and not self._stop.is_set():
                wait()
                uid, data_set = objects.next()
                began, sent = time.monotonic(), sent + 1
                try:
                    status = association.store(1, CT, uid, data_set)
                except OSError as error:
                    self._note("C-STORE", began, type(error).__name__, uid)
                    raise
                self._note("C-STORE", began, f"0x{status:04X}" if status else "", uid)

    async def _ask(
        self,
        what: str,
        method: str,
        path: str,
        *,
        keep: bool,
        headers: dict[str, str] | None = None,
        pause: float = 0.2,
    ) -> None:
        """Ask again and again, each time on a connection of its own unless it is to be kept."""
        limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        async with httpx.AsyncClient(
            base_url=self.darkroom.url, timeout=20, limits=limits, headers=headers
        ) as client:
            while not self._stop.is_set():
                await self._one(what, client.build_request(method, path), client)
                await lasting(pause)

    async def _one(self, what: str, request: httpx.Request, client: httpx.AsyncClient) -> None:
        began = time.monotonic()
        try:
            answer = await client.send(request)
        except httpx.HTTPError as error:
            self._note(what, began, type(error).__name__)
        else:
            good = answer.status_code < 300
            self._note(what, began, "" if good else f"{answer.status_code} {answer.text[:600]}")

    async def _search(self, *, keep: bool) -> None:
        async with self.darkroom.client() as signed_in:
            headers = {"Authorization": signed_in.headers["Authorization"]}
        await self._ask("QIDO", "GET", "/dicom-web/studies?limit=5", keep=keep, headers=headers)

    async def _stow(self) -> None:
        series = new_uid()
        async with self.darkroom.client() as client:
            while not self._stop.is_set():
                uid = _uid()
                one = a_data_set(
                    SOPInstanceUID=uid, StudyInstanceUID=self.study, SeriesInstanceUID=series
                )
                began = time.monotonic()
                try:
                    answer = await client.post(
                        "/dicom-web/studies",
                        content=a_body([a_file(one)]),
                        headers={"Content-Type": TYPE, "Accept": "application/dicom+json"},
                    )
                except httpx.HTTPError as error:
                    self._note("STOW", began, type(error).__name__, uid)
                else:
                    good = answer.status_code == 200
                    self._note("STOW", began, "" if good else str(answer.status_code), uid)
                await lasting(0.2)

    async def _sign_in(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                async with self.darkroom.client():
                    self._note("sign-in", began)
            except httpx.HTTPError as error:
                self._note("sign-in", began, type(error).__name__)
            await lasting(0.5)
