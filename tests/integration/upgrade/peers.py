"""The peers of the fixture when the stack goes on: all are there now, and willing."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.events import Event

from darkroom_local.engines.ports import LOOPBACK
from tests.integration.print.printers import ScriptedPrinter
from tests.integration.print.printers import scripted as a_printer
from tests.integration.transmit.keeper import Keeper, keeping
from tests.integration.transmit.nodes import FIND, MOVE, scripted
from tests.integration.transmit.stow_server import Server, sequences, serving
from tests.support.builders import CT, a_data_set
from tests.support.scripted_peer import ScriptedPeer

EXPLICIT = "1.2.840.10008.1.2.1"


@dataclass
class Archive:
    """Knows no priors, and has every study that it is asked for: one image."""

    ingest_port: int
    moved: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def on_find(self, event: Event) -> Iterator[tuple[int, None]]:
        self.asked.append(str(event.identifier.get("PatientID", "")))
        yield 0, None

    def on_move(self, event: Event) -> Iterator[Any]:
        study = str(event.identifier.StudyInstanceUID)
        self.moved.append(study)
        one = a_data_set(StudyInstanceUID=study, PatientID="INV-8", PatientName="Invented^Prior")
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = UID(EXPLICIT)
        meta.MediaStorageSOPClassUID = one.SOPClassUID
        meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.file_meta = meta
        caller = AE("ARCHIVE")
        caller.add_requested_context(CT, EXPLICIT)
        yield LOOPBACK, self.ingest_port, {"contexts": caller.requested_contexts}
        yield 1
        yield 0xFF00, one


@dataclass
class Peers:
    """By the name of the destination or printer."""

    ports: dict[str, int]
    stores: dict[str, ScriptedPeer]
    keepers: dict[str, Keeper]
    archives: dict[str, Archive]
    printers: dict[str, ScriptedPrinter]
    web: Server


@contextmanager
def willing(names: list[str], ingest_port: int) -> Iterator[Peers]:
    """Run a peer for each name that the fixture has a port for."""
    with ExitStack() as stack:
        made = Peers({}, {}, {}, {}, {}, Server(lambda uids, _: (200, sequences(uids))))
        for name in names:
            if name.startswith("FILM"):
                made.printers[name] = stack.enter_context(a_printer())
                made.ports[name] = made.printers[name].port
            elif name.startswith("KEEPER"):
                made.keepers[name] = stack.enter_context(keeping(Keeper()))
                made.ports[name] = made.keepers[name].port
            elif name in ("ARCHIVE", "DISTANT", "UNWILLING"):
                archive = made.archives[name] = Archive(ingest_port)
                handlers: list[Any] = [
                    (evt.EVT_C_FIND, archive.on_find), (evt.EVT_C_MOVE, archive.on_move),
                ]  # fmt: skip
                made.ports[name] = stack.enter_context(scripted([FIND, MOVE], handlers))
            elif name == "WEB":
                made.ports[name] = stack.enter_context(serving(made.web)).port
            else:
                made.stores[name] = stack.enter_context(ScriptedPeer())
                made.ports[name] = made.stores[name].port
        yield made
