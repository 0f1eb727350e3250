"""A receiving process, as `nursery` forks it for the main process.

It takes associations from the listening socket that it inherits, and writes to the one spool, each
worker to a `tmp` of its own. It reports to the main process, which relays. It dies with the main
process, and it is started again by it when it is killed.
"""

import mmap
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from select import select
from typing import Final, Self

from darkroom_common.dimse.acceptor import Entrance
from darkroom_common.dimse.census import Census
from darkroom_common.dimse.journal import JOURNAL, keep_journal
from darkroom_common.dimse.tls import TlsServer
from darkroom_common.objects.spool import Spool
from darkroom_common.telemetry.foreign import guarded_process
from darkroom_common.telemetry.logs import configure_logs, get_logger
from darkroom_common.telemetry.merged import snapshot
from darkroom_common.telemetry.traces import configure_traces
from darkroom_ingest.answering.archive import open_archive
from darkroom_ingest.door.reports import (
    PACKET,
    Counted,
    Drain,
    Failed,
    Leave,
    Reporter,
    Started,
    decode,
)
from darkroom_ingest.door.scp import DRAIN_SHARE, StorageScp
from darkroom_ingest.receiving.receive import Receiver
from darkroom_ingest.senders.roster import COPY_NAME, Doorkeeper, RosterCopy
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.stow.entrance import StowEntrance, open_stow

log = get_logger(__name__)
REPORT_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.2
"""How often it is looked whether all have gone."""


@dataclass(frozen=True)
class Inherited:
    """What a worker gets from the main process: its number and some open files.

    Attributes:
        run: of the main process, as the spool calls it.
        dicom_listeners: the plain one and that of TLS, as far as the settings have them.
    """

    run: str
    number: int
    stow_listener: int
    control: int
    census: int
    dicom_listeners: tuple[int, ...]

    def said(self) -> str:
        """Return its name: a directory for it within the spool's `tmp`."""
        return f"{self.run}/{self.number}"

    def files(self) -> list[int]:
        """Return the open files."""
        return [self.stow_listener, self.control, self.census, *self.dicom_listeners]

    @classmethod
    def of(cls, said: str, files: Sequence[int]) -> Self:
        """Return what has these files, and what was said with them."""
        run, _, number = said.partition("/")
        stow_listener, control, census, *dicom_listeners = files
        return cls(run, int(number), stow_listener, control, census, tuple(dicom_listeners))


def report(
    reporter: Reporter, spool: Spool, stop: threading.Event, looks: Sequence[Callable[[], object]]
) -> None:
    """Tell the main process how things are, and see what is new for us, until stopped."""
    told_failure = False
    while True:
        stopped = stop.wait(REPORT_SECONDS)
        for look in looks:
            look()
        reporter.make_up()
        reporter.tell(Counted(snapshot()))
        if spool.failed and not told_failure:
            reporter.tell(Failed(spool.failed))
            told_failure = True
        if stopped:
            return


def serve(inherited: Inherited, settings: IngestSettings) -> None:
    """Receive until the main process says that it is enough."""
    control = socket.socket(fileno=inherited.control)
    listeners = iter(inherited.dicom_listeners)
    entrances: list[Entrance] = []
    if settings.dicom_plain:
        entrances.append(Entrance(socket.socket(fileno=next(listeners))))
    if settings.tls is not None:
        entrances.append(Entrance(socket.socket(fileno=next(listeners)), TlsServer(settings.tls)))
    memory = memoryview(mmap.mmap(inherited.census, 0))
    spool = Spool(
        settings.spool, worker=inherited.said(), quarantine_limit=settings.quarantine_bytes
    )
    reporter = Reporter(control)
    receiver = Receiver(
        spool,
        settings.reserve_bytes,
        settings.max_object_bytes,
        reporter.tell,
        limits=settings.read_limits,
        strict_uids=settings.strict_uids,
    )
    doorkeeper = Doorkeeper(RosterCopy(settings.spool / COPY_NAME), settings.policy)
    census, archive = Census(memory, inherited.number), open_archive(settings)
    scp = StorageScp(settings, receiver, census, doorkeeper, archive)
    stow = open_stow(socket.socket(fileno=inherited.stow_listener), settings, receiver)
    keep_journal(settings.spool, "ingest")
    scp.start(*entrances)
    stow.start()
    reporter.tell(Started())
    stop = threading.Event()
    looks: list[Callable[[], object]] = [doorkeeper.look, JOURNAL.look]
    shown = [stow.tls, *(one.tls for one in entrances)]
    looks += [tls.look for tls in shown if tls is not None]
    reporting = threading.Thread(target=report, args=(reporter, spool, stop, looks), daemon=True)
    reporting.start()
    leaving = False
    while not (leaving and scp.is_empty and stow.is_empty):
        if leaving and not select([control], (), (), LOOK_SECONDS)[0]:
            continue
        message = control.recv(PACKET)
        if not message:
            break
        match decode(message):
            case Failed(reason):
                spool.fail(reason)
            case Leave():
                leaving = True
                scp.leave()
                stow.leave()
            case Drain(limit):
                drain(scp, stow, limit)
                break
            case _:
                pass  # nothing else is said in this direction
    stop.set()
    reporting.join(REPORT_SECONDS)


def drain(scp: StorageScp, stow: StowEntrance, limit: float) -> None:
    """Let what is on its way come whole, by both ways at once."""
    ending = threading.Thread(target=stow.close, args=(limit * DRAIN_SHARE,), daemon=True)
    ending.start()
    scp.drain(limit)
    ending.join(limit)


def run(inherited: Inherited, settings: IngestSettings) -> None:
    """Be a receiving process until the main process says that it is enough."""
    configure_logs(
        service="ingest",
        level=settings.log_level,
        style=settings.log_format,
        security=settings.security_log,
    )
    provider = configure_traces(
        service="ingest", endpoint=settings.otlp_endpoint, directory=settings.trace_directory
    )
    try:
        with guarded_process():
            serve(inherited, settings)
    finally:
        provider.shutdown()
