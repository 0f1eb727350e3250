"""What the routes work with, made once by the wiring."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.types import Scope

if TYPE_CHECKING:
    from darkroom_api.edge.flags import OpenDoor

from darkroom_api.accounts.accounts import Accounts
from darkroom_api.accounts.guard import Guard
from darkroom_api.accounts.tokens import AccessTokens
from darkroom_api.audit.log import AuditLog, Claim
from darkroom_api.audit.recorder import ReadRecorder, Recorder
from darkroom_api.audit.verification import Verification
from darkroom_api.dead_letters.keeping import DeadLetters
from darkroom_api.desk.measures import Measured
from darkroom_api.dicomweb.retrieving.parsing import Parsing
from darkroom_api.dicomweb.searching.known import KnownSearches
from darkroom_api.dicomweb.storing.handover import Handover
from darkroom_api.dicomweb.workitems.news import ReportNews
from darkroom_api.events.hub import Hub
from darkroom_api.oidc.provider import Provider
from darkroom_api.own_jobs import OwnJobs
from darkroom_api.rates.flow import Flow
from darkroom_api.rates.limits import RateLimits
from darkroom_api.rendering.cache import Cache
from darkroom_api.rendering.rendering import Rendering
from darkroom_api.settings import ApiSettings
from darkroom_api.studies.turns import Turns
from darkroom_api.validation.validating import Validating
from darkroom_common.amqp.broker import Broker
from darkroom_common.health import Health
from darkroom_common.index.reader import IndexReader
from darkroom_common.index.rows import KnownInstances, Versions
from darkroom_common.objects.store import ObjectStore
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_common.postgres.pool import Database
from darkroom_common.seal import Seal
from darkroom_common.uids import Uids


@dataclass(frozen=True)
class Parts:
    """The parts of a running api."""

    settings: ApiSettings
    health: Health
    reader: IndexReader
    store: ObjectStore
    accounts: Accounts
    tokens: AccessTokens
    guard: Guard
    broker: Broker
    database: Database
    outbox: Outbox
    seal: Seal
    keys: PhiKeys
    blind: BlindIndex
    audit: AuditLog
    recorder: Recorder
    reads: ReadRecorder
    verification: Verification
    parsing: Parsing
    handover: Handover
    rendering: Rendering
    kept_metadata: Cache
    validating: Validating
    searches: Turns
    rates: RateLimits
    flow: Flow
    open_door: "OpenDoor"
    dead_letters: DeadLetters
    own: OwnJobs
    hub: Hub
    report_news: ReportNews
    provider: Provider | None
    uids: Uids
    measured: Measured = field(default_factory=Measured)
    known: KnownInstances = field(default_factory=KnownInstances)
    found: KnownSearches = field(default_factory=KnownSearches)

    def forget(self, claim: Claim) -> None:
        """Forget what was looked up and does not hold any more."""
        if isinstance(claim, Versions):
            self.found.forget(claim)
        else:
            self.known.forget(claim)


def parts_of(scope: Scope) -> Parts:
    """Return the parts of the application that serves a request."""
    parts: Parts = scope["app"].state.parts
    return parts
