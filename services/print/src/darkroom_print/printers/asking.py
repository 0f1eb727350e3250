"""Asks printers whether they are there, and how they are (N-GET of the Printer, PS3.4 H.4.5)."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

from darkroom_common.dimse.requestor import Peer, PeerFault
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.echoes.rounds import ANSWER_SECONDS, CONNECT_SECONDS
from darkroom_common.films.profiles import capabilities
from darkroom_print.printers.configuration import Configuration, Printer
from darkroom_print.printers.connecting import asked_of, peer_of
from darkroom_print.printing.print_scu import Capabilities, PrintAssociation, PrinterStatus, Refused

_LONGEST = 200


@dataclass(frozen=True)
class Asking:
    """Asks printers, in threads of its own: those that print are in nobody's way."""

    configuration: Configuration
    tls: TlsClient
    threads: Executor

    async def status(self, printer: Printer) -> tuple[PrinterStatus, str]:
        """Return what a printer says of itself, and why it says nothing; it is shown, too."""
        profile = capabilities(printer.spec)
        reason, status = "", PrinterStatus("", "")
        try:
            peer = peer_of(printer, self.tls)
            asked = asked_of(profile, colour=profile.colour, annotated=False)
            silent = "no-status" in profile.quirks
            loop = asyncio.get_running_loop()
            work = partial(_status, peer, asked, silent=silent)
            status = await loop.run_in_executor(self.threads, work)
        except (PeerFault, Refused) as fault:
            reason = str(fault)
        shown = ("AWAY", reason[:_LONGEST]) if reason else (status.status, status.info)
        await self.configuration.show_status(printer.name, *shown)
        return status, reason

    async def __call__(self, printer: Printer) -> str:
        """Return why a printer does not answer, without much patience; nothing when it does."""
        spec = printer.spec
        patience = {
            "connect_seconds": min(spec.connect_seconds, CONNECT_SECONDS),
            "answer_seconds": min(spec.answer_seconds, ANSWER_SECONDS),
        }
        _, reason = await self.status(replace(printer, spec=spec.model_copy(update=patience)))
        return reason


def _status(peer: Peer, asked: Capabilities, *, silent: bool) -> PrinterStatus:
    """Return the status of a printer; nothing but that it answers when it is not to be asked."""
    association = PrintAssociation(peer, asked)
    try:
        return PrinterStatus("", "") if silent else association.status()
    finally:
        association.release()
