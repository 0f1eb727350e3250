"""The licence as it is now: asks for it, remembers it, and says what is in force."""

import asyncio
from datetime import timedelta
from typing import Final

from pydantic import ValidationError

from darkroom_common.clock import Clock
from darkroom_common.errors import DarkroomError, Unhealthy
from darkroom_common.messages.events import LicenceChecked
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import licensing as metrics
from darkroom_licensing import decision
from darkroom_licensing.calendar import WorkingDays
from darkroom_licensing.decision import Memory, Standing
from darkroom_licensing.document import Document, InvalidLicence
from darkroom_licensing.issuers import Issuer, LicenceRefused, Reader
from darkroom_licensing.keeping import Kept

log = get_logger(__name__)
AGAIN_SECONDS: Final = 30.0
"""Between questions while there is no answer: within a minute all is as it was."""
_SEEN_KEPT: Final = timedelta(minutes=10)
STATES: Final = ("unconfigured", "valid", "grace", "expired", "invalid")


class Licence:
    """The licence of this installation.

    Args:
        issuer: whom to ask.
        reader: of documents.
        kept: the file with what is remembered.
        clock: of the machine.
        working: when a deadline takes effect.
    """

    def __init__(
        self, issuer: Issuer, reader: Reader, kept: Kept, clock: Clock, working: WorkingDays
    ) -> None:
        self._issuer = issuer
        self._reader = reader
        self._kept = kept
        self._clock = clock
        self._working = working
        self._one_at_a_time = asyncio.Lock()
        self._asked: float | None = None
        self._memory, self._document = self._remembered()
        self._written = self._memory

    def _remembered(self) -> tuple[Memory, Document | None]:
        """Return what the file says. A licence in it counts only as far as it is signed."""
        text = self._kept.read()
        try:
            memory = Memory.model_validate_json(text) if text else Memory()
        except ValidationError:
            log.error("licence.cache.unreadable")
            return Memory(), None
        if not memory.document:
            return memory, None
        try:
            return memory, self._reader.read(memory.document)
        except InvalidLicence as error:
            log.warning("licence.cache.unusable", reason=str(error))
            return memory.model_copy(update={"document": "", "confirmed_at": None}), None

    async def standing(self, *, ask: bool = False) -> Standing:
        """Return what is in force; ask for the licence when it is time, or when told to.

        Args:
            ask: whether to ask in any case.
        """
        async with self._one_at_a_time:
            if ask or self._due():
                await self._ask()
            now, source = self._clock.now(), self._issuer.source
            self._memory = decision.observed(self._memory, self._document, source, now)
            if _changed(self._written, self._memory):
                self._keep()
            return decision.decide(self._memory, self._document, source, now, self._working)

    def _due(self) -> bool:
        if self._asked is None:
            return True
        memory, every = self._memory, self._issuer.every
        went_back = memory.clock_went_back(self._clock.now()) is not None
        if went_back or memory.failure or memory.refusal or memory.overdue:
            every = min(AGAIN_SECONDS, every)
        return self._clock.monotonic() - self._asked >= every

    async def _ask(self) -> None:
        source = self._issuer.source
        if source == "none":
            self._memory, self._document = Memory(), None
            return
        self._asked = self._clock.monotonic()
        try:
            text = await self._issuer.issue()
            document = self._reader.read(text)
        except LicenceRefused as error:
            self._count("refused")
            self._memory = decision.refused(self._memory, str(error), self._clock.now())
        except DarkroomError as error:
            self._count("failed")
            if source == "file":
                self._memory = self._memory.model_copy(update={"fault": str(error)})
            else:
                self._memory = decision.failed(self._memory, str(error), self._clock.now())
        else:
            self._count("answered")
            self._take(text, document)

    def _take(self, text: str, document: Document) -> None:
        source, memory = self._issuer.source, self._memory
        if source == "file" and self._document is not None:
            older = document.issued_at <= self._document.issued_at
            if text == memory.document or older:
                fault = "" if text == memory.document else "the licence file is older than the last"
                self._memory = memory.model_copy(update={"fault": fault})
                return
        self._memory = decision.confirmed(memory, text, document, self._clock.now(), source)
        self._document = document

    def _count(self, outcome: str) -> None:
        metrics.LICENCE_CHECKS.labels(outcome).inc()

    def _keep(self) -> None:
        try:
            self._kept.write(self._memory.model_dump_json())
            self._written = self._memory
        except OSError as error:  # it goes on with what it knows
            log.error("licence.cache.failed", reason=error.strerror or type(error).__name__)

    async def check(self) -> None:
        """Be a check of health: say why Odoo is not reached.

        Raises:
            Unhealthy: it has not been, the last time.
        """
        if self._memory.failure:
            raise Unhealthy(self._memory.failure)

    def event(self, standing: Standing) -> LicenceChecked:
        """Return what the other services are told."""
        document = standing.document
        return LicenceChecked(
            state=standing.state,
            reason=standing.reason,
            valid_until=None if document is None else document.valid_until,
            entitlements={} if document is None else {**document.limits},
            features=("*",) if document is None else document.features,
            licence_id="" if document is None else document.licence_id,
            customer="" if document is None else document.customer,
            confirmed_at=self._memory.confirmed_at,
            read_only=standing.read_only,
            read_only_from=standing.read_only_from,
            notice=standing.notice,
            stage=standing.stage,
        )


def _changed(before: Memory, after: Memory) -> bool:
    """Return whether it is worth writing; the time alone is, now and then."""
    if before.seen_at is None or after.seen_at is None:
        return before != after
    if abs(after.seen_at - before.seen_at) >= _SEEN_KEPT:
        return True
    return before != after.model_copy(update={"seen_at": before.seen_at})


def show(standing: Standing) -> None:
    """Set the metrics."""
    for state in STATES:
        metrics.LICENCE_STATE.labels(state).set(state == standing.state)
    metrics.LICENCE_READ_ONLY.set(standing.read_only)
    since = standing.read_only_from
    metrics.LICENCE_READ_ONLY_FROM.set(0 if since is None else since.timestamp())
    ends = None if standing.document is None else standing.document.valid_until
    metrics.LICENCE_ENDS.set(0 if ends is None else ends.timestamp())
