"""Rounds of F3: send a study, kill transmit at a named point, start it, see all of it arrive."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.killing import Killer
from tests.integration.transmit.desk import Desk, Study
from tests.integration.transmit.keeper import Keeper
from tests.support.services import Services

EACH_INSTANCE = ("store-mid-pdu", "store-before-response", "store-after-response")
STORE_POINTS = (
    "job-before-commit",
    "claim-before-commit",
    *EACH_INSTANCE,
    "record-before",
    "record-before-commit",
    "finish-before",
    "finish-before-commit",
)
ALL_WRITTEN = ("finish-before", "finish-before-commit")
"""Points where each instance's result is in the database: nothing is sent again."""
ASK_POINTS = (
    "finish-after-commit",
    "action-before-request",
    "action-after-request",
    "action-after-response",
)
REPORT_POINTS = (
    "report-before-settling",
    "report-before-commit",
    "loss-before-commit",
    "report-before-answer",
)
ASKED: dict[str, set[int]] = {
    "finish-after-commit": {1},
    "action-before-request": {1},
    "action-after-request": {1, 2},
    "report-before-answer": {1},
}
"""How many N-ACTIONs the destination gets in a round; 2 where nothing is said."""
INSTANCES = 24
SIZE = 60_000


def prepare(services: Services) -> None:
    """Have a killed process's jobs taken over soon."""
    services.extra["LEASE_SECONDS"] = "1"


@dataclass
class Rounds:
    """Kills transmit while it sends to one destination.

    Attributes:
        arrived: returns SOP instance UID and SHA-256 of what the destination has got, in order.
        instances: sent in all.
        twice: instances that came twice.
    """

    desk: Desk
    killer: Killer
    destination: str
    arrived: Callable[[], list[tuple[str, str]]]
    instances: int = 0
    twice: int = 0
    _chance: random.Random = field(default_factory=lambda: random.Random(20261121))

    async def store(self, point: str) -> None:
        """Kill while a study is sent; the job ends SENT."""
        await self._round(point, "SENT")

    async def commit(self, point: str, keeper: Keeper) -> None:
        """Kill while a study is asked for; the job ends COMMITTED, by a transaction of its own."""
        first = len(keeper.asked)
        keeper.loses = int(point == "loss-before-commit")
        study = await self._round(point, "COMMITTED")
        asked = keeper.asked[first:]
        assert {frozenset(uids) for uids in asked} == {frozenset(study.digests)}
        assert len(asked) in ASKED.get(point, {2}), point
        assert len(set(keeper.transactions)) == len(keeper.asked)
        if keeper.report == "new":  # whoever got no response reports again, PS3.4 section J.3.3
            await asyncio.to_thread(keeper.call, *keeper.told[-1])
            assert keeper.answers[-1] == 0, point

    async def _round(self, point: str, ending: str) -> Study:
        study = await self.desk.study(INSTANCES, size=SIZE)
        first = len(self.arrived())
        number = self._chance.randint(1, INSTANCES) if point in EACH_INSTANCE else 1
        self.killer.arrange(f"{point}:{number}")
        job_id = await self.desk.send(self.destination, study)
        await self.killer.died("transmit")
        rows = await self.desk.instances(job_id)
        kept = {uid for uid, row in rows.items() if row["state"] in ("SENT", "COMMITTED")}
        had = len(self.arrived())
        await self.desk.services.start("transmit")
        job = await self.desk.until(job_id, ending, "FAILED")
        assert job["state"] == ending, (point, job["reason"])
        assert (job["sent"], job["failed"], job["total"]) == (INSTANCES, 0, INSTANCES), point
        came = self.arrived()
        assert dict(came[first:]) == study.digests, point
        assert len(set(came[first:])) == INSTANCES, point  # the same bytes each time
        assert not kept & {uid for uid, _ in came[had:]}, point
        counts = Counter(uid for uid, _ in came[first:])
        assert max(counts.values()) <= 2, point
        twice = sum(count == 2 for count in counts.values())
        if point not in STORE_POINTS or point in ALL_WRITTEN:
            assert twice == 0, point
            assert len(kept) == INSTANCES, point
        for uid, row in (await self.desk.instances(job_id)).items():
            assert (row["state"], row["status"], row["reason"]) == (ending, 0, ""), (point, uid)
        assert (await self.desk.attempts(job_id))[-1]["outcome"] == "sent"
        self.instances += INSTANCES
        self.twice += twice
        return study
