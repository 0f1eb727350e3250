"""Publishes what the journal of associations holds, and removes it when the broker has it.

What was published twice, since a process ended in between, is known by the receipt of each item.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from darkroom_common.amqp.broker import Broker
from darkroom_common.dimse.journal import JOURNAL, Journal, JournalFile
from darkroom_common.errors import TransientError
from darkroom_common.messages.events import AssociationItem, AssociationsEnded
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics

log = get_logger(__name__)
SECONDS: Final = 1.0
LAST_DELAY: Final = 30.0
_AT_ONCE: Final = 1000
"""Lines that are in memory."""


class JournalRelay:
    """Moves the journal of one or some processes on.

    Args:
        file: of the journal.
        broker: takes the messages.
        journal: of this process.
    """

    def __init__(self, file: JournalFile, broker: Broker, journal: Journal = JOURNAL) -> None:
        self._file = file
        self._broker = broker
        self._journal = journal

    async def run(self) -> None:
        """Move on every second what there is, until cancelled."""
        delay = SECONDS
        while True:
            await asyncio.sleep(delay)
            try:
                await self.relay()
                delay = SECONDS
            except (TransientError, OSError) as error:
                delay = min(delay * 2, LAST_DELAY)
                log.warning("associations.wait", reason=str(error))

    async def relay(self) -> None:
        """Publish what there is.

        Raises:
            TransientError: the broker is away, or nobody takes it yet; it stays.
            OSError: the disk fails.
        """
        self._journal.look()
        for path in await asyncio.to_thread(self._file.take):
            lines = _lines(path)
            while items := await asyncio.to_thread(_some, lines):
                messages = AssociationsEnded.of(items)
                for failed in await self._broker.publish_all([(one, {}) for one in messages]):
                    if failed is not None:
                        raise failed
            await asyncio.to_thread(path.unlink, missing_ok=True)


def _lines(path: Path) -> Iterator[AssociationItem]:
    with path.open("rb") as file:
        for line in file:
            try:
                yield AssociationItem.model_validate_json(line)
            except ValidationError:  # the machine has stopped while it was written
                metrics.AUDIT_LOST.inc()
                log.error("audit.lost", reason="a line that is not whole")


def _some(lines: Iterator[AssociationItem]) -> list[AssociationItem]:
    return [one for _, one in zip(range(_AT_ONCE), lines, strict=False)]
