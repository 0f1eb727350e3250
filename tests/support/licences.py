"""A licence that is looked after in simulated time, with a stand-in of Odoo."""

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import httpx
from pydantic import SecretStr

from darkroom_licensing.calendar import WorkingDays
from darkroom_licensing.decision import Standing
from darkroom_licensing.issuers import OdooIssuer, Reader
from darkroom_licensing.keeping import Kept
from darkroom_licensing.licence import Licence
from darkroom_licensing.odoo.keys import Keys
from darkroom_licensing.odoo.odoo import Odoo
from darkroom_licensing.odoo.protocols import Json2, JsonRpc
from darkroom_licensing.odoo.wire import Wire
from tests.support.odoo import DATABASE, FIRST_KEY, INSTALLATION, LOGIN, SIGNED_BY, OdooStandIn

ZONE = ZoneInfo("Europe/Berlin")
WORKING = WorkingDays(ZONE, time(18), frozenset({1, 2, 3, 4, 5}))
MONDAY = datetime(2026, 11, 30, 9, tzinfo=UTC)


@dataclass
class SimulatedClock:
    """Time that passes when it is told to; the wall clock can be set beside that.

    Attributes:
        true: the real time, which is Odoo's.
        off: how far the machine's clock is ahead.
    """

    true: datetime = MONDAY
    off: timedelta = timedelta()
    passed: float = 0.0

    def now(self) -> datetime:
        return self.true + self.off

    def monotonic(self) -> float:
        return self.passed

    def advance(self, by: timedelta) -> None:
        self.true += by
        self.passed += by.total_seconds()


class InMemory(Kept):
    """A file that outlives `Licence`, without a disk."""

    def __init__(self) -> None:
        super().__init__(None, "")

    @property
    def durable(self) -> bool:
        return True


@dataclass
class Clinic:
    """One installation.

    Attributes:
        away: `connect` or `slow` while Odoo cannot be reached.
        given: the API key of the setting.
    """

    clock: SimulatedClock = field(default_factory=SimulatedClock)
    away: str = ""
    given: str = FIRST_KEY
    remembered: Kept = field(default_factory=InMemory)
    own_key: Kept = field(default_factory=InMemory)

    def __post_init__(self) -> None:
        self.odoo = OdooStandIn(lambda: self.clock.true)
        self.client = httpx.AsyncClient(transport=self.odoo.transport(lambda: self.away))
        self.keys, self.licence = self.start()

    @property
    def public(self) -> str:
        return base64.b64encode(self.odoo.signing.public_key().public_bytes_raw()).decode()

    @property
    def reader(self) -> Reader:
        return Reader({SIGNED_BY: self.odoo.signing.public_key()}, INSTALLATION)

    def start(self) -> tuple[Keys, Licence]:
        """Start licensing (again): it knows what was kept."""
        wire = Wire(self.client, "https://odoo.vendor.example", pause=0)
        odoo = Odoo((Json2(wire, DATABASE), JsonRpc(wire, DATABASE, LOGIN)), self.clock)
        self.keys = Keys(odoo, SecretStr(self.given), self.own_key, self.clock, "Darkroom")
        issuer = OdooIssuer(self.keys, self.reader, "0.1.0", 3600)
        self.licence = Licence(issuer, self.reader, self.remembered, self.clock, WORKING)
        return self.keys, self.licence

    async def after(self, passed: timedelta = timedelta(), *, ask: bool = False) -> Standing:
        """Let time pass and return what is in force then."""
        self.clock.advance(passed)
        return await self.licence.standing(ask=ask)
