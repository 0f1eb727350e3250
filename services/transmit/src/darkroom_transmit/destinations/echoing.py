"""Asks destinations, on a schedule, whether they are there (TRX-14)."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.echoes.rounds import ANSWER_SECONDS, AT_ONCE, CONNECT_SECONDS, Rounds
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.delivery import Yard
from darkroom_transmit.sending.lane import DestinationLanes
from darkroom_transmit.sending.sender import Sender


@dataclass(frozen=True)
class Echoing:
    """The test of a destination, with little patience."""

    senders: Mapping[str, Sender]
    threads: Executor

    async def __call__(self, destination: Destination) -> str:
        """Return why a destination does not answer; nothing when it does."""
        spec = destination.spec
        patience = {
            "connect_seconds": min(spec.connect_seconds, CONNECT_SECONDS),
            "answer_seconds": min(spec.answer_seconds, ANSWER_SECONDS),
        }
        hurried = replace(destination, spec=spec.model_copy(update=patience))
        try:
            await self.senders[spec.kind].echo(hurried, self.threads)
        except PeerFault as fault:
            return fault.reason
        return ""


@contextmanager
def open_rounds(
    configuration: Configuration, yard: Yard, lanes: DestinationLanes, outbox: Outbox, every: float
) -> Iterator[Rounds[Destination]]:
    """Lend the rounds of all destinations, which share places with their lanes."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="echo") as threads:
        yield Rounds(
            yard.database,
            DESTINATIONS,
            outbox,
            configuration.destinations,
            Echoing(yard.senders, threads),
            yard.places,
            yard.at_once,
            every,
            lanes.answered,
        )
