"""Makes deliveries: signs an event and posts it, again and again until it is taken."""

from typing import Any, Final

from darkroom_api.callbacks import signing
from darkroom_api.callbacks.calling import GONE, Caller
from darkroom_api.callbacks.repository import PHASES, Deliveries, Sending
from darkroom_api.events.catalogue import as_json
from darkroom_common.clock import utc_now
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.runner import Runner
from darkroom_common.telemetry import traces

AT_ONCE: Final = 64
"""Of all callbacks: one that hangs takes no place of the others but its own few."""
EACH: Final = 4


class Posting:
    """Posts what waits."""

    def __init__(self, claims: Claims[Sending], deliveries: Deliveries, caller: Caller) -> None:
        self._deliveries = deliveries
        self._caller = caller
        self.runner = Runner(claims, self.attempt, at_once=AT_ONCE, each=EACH)

    async def attempt(self, sending: Sending) -> Ending:
        """Post one event to one callback.

        Raises:
            TypeError: it was not loaded.
        """
        spec, at = sending.spec, sending.at
        if spec is None or at is None:
            raise TypeError("a delivery without its callback")
        row = sending.row
        happened = at.isoformat().replace("+00:00", "Z")
        body = payload(row["event_id"], row["type"], happened, sending.data)
        seconds = int(utc_now().timestamp())
        headers = signing.headers(row["event_id"], seconds, body, sending.signing)
        answer = await self._caller.call(
            spec.url, headers | traces.inject(), body, limit=spec.timeout_seconds
        )
        sending.answer = answer
        columns: dict[str, Any] = {"status": answer.status}
        if answer.taken:
            return Ending(PHASES.ended_well[0], columns=columns)
        if answer.status == GONE or sending.test:
            return Ending(PHASES.failed, answer.reason, columns=columns)
        chance = self.runner.chance()
        ending = self._deliveries.kind.again(sending, spec.backoff, answer.reason, chance)
        wait = max(ending.wait, answer.wait) if ending.state == PHASES.retrying else 0.0
        return Ending(
            ending.state, ending.reason, wait, counts=True, columns=columns, remembered=False
        )


def payload(event_id: str, kind: str, at: str, data: str) -> bytes:
    """Return the body of an event: the same in every attempt.

    Args:
        event_id: of the event.
        kind: its type.
        at: when it happened, RFC 3339.
        data: of it, JSON.
    """
    head = as_json({"id": event_id, "type": kind, "timestamp": at})
    return f'{head[:-1]},"data":{data}}}'.encode()
