"""A printer at work: what an attempt at a job of it comes to, and the lanes of all printers."""

from dataclasses import dataclass, replace

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.errors import PermanentError
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.lanes import Lanes
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.runner import Runner
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import printing as metrics
from darkroom_print.composing.composer import ComposingFailed
from darkroom_print.printers.configuration import Printer
from darkroom_print.printing.ending import Ended, Lost, Stopping
from darkroom_print.printing.print_scu import FormatRefused, Refused
from darkroom_print.printing.printing import Printing
from darkroom_print.printing.repository import PrintJob
from darkroom_print.printing.workshop import Workshop

log = get_logger(__name__)
STOP_SECONDS = 15.0
"""How long a film that is being printed is waited for at the end."""
PrinterLanes = Lanes[Printer, Runner[PrintJob]]


def printer_lanes(shop: Workshop) -> PrinterLanes:
    """Return the lanes of all printers."""
    return Lanes(
        shop.database,
        shop.jobs.table,
        shop.configuration.printers,
        lambda printer: lane(printer, shop),
    )


def lane(printer: Printer, shop: Workshop) -> Runner[PrintJob]:
    """Return the lane of a printer: its jobs, one after the other."""
    return Runner(
        Claims(
            shop.jobs.table,
            shop.database,
            shop.owner,
            shop.lease_seconds,
            printer.name,
            bound=printer.id,
        ),
        Press(printer, shop),
        stop_seconds=STOP_SECONDS,
        enabled=printer.spec.enabled,
        chance=shop.chance,
    )


@dataclass(frozen=True)
class Press:
    """Prints claimed jobs on one printer."""

    printer: Printer
    shop: Workshop

    async def __call__(self, job: PrintJob) -> Ending:
        """Print the films of a job that wait; when it is to stop, the one that has begun."""
        job.backoff = self.printer.spec.backoff
        printing = Printing(self.printer, self.shop, job)
        job.when_stopped(printing.stop)
        ending = await self._ending(printing, job)
        return replace(ending, columns={"warnings": job.warnings})

    async def _ending(self, printing: Printing, job: PrintJob) -> Ending:
        """Return how a job ends, or waits, for a reason that has left no film in doubt."""
        kind = self.shop.jobs.kind
        try:
            await printing.run()
        except (Lost, Stopping):
            return kind.given_back()
        except Ended as ended:
            state, reason, transient = ended.state, ended.reason, ended.transient
        except PeerFault as fault:
            metrics.PRINT_FAULTS.labels(self.printer.name, fault.reason).inc()
            state, reason, transient = "FAILED", str(fault), fault.transient
            away = self.shop.configuration.show_status
            await away(self.printer.name, "AWAY", reason[:200])
        except Refused as error:
            state, reason, transient = "FAILED", str(error), error.transient
        except ComposingFailed as error:
            state, reason, transient = "FAILED", str(error), True
        except (FormatRefused, PermanentError) as error:
            state, reason, transient = "FAILED", str(error), False
        else:
            return Ending("DONE")
        if transient:
            return kind.again(job, job.backoff, reason, self.shop.chance())
        return Ending(state, reason)
