"""Printers to print on: DCMTK's dcmprscp, and one that does what a test tells it to."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.support.waiting import until

GRAYSCALE_META = "1.2.840.10008.5.1.1.9"
COLOUR_META = "1.2.840.10008.5.1.1.18"
PRINT_JOB = "1.2.840.10008.5.1.1.14"
ANNOTATION_BOX = "1.2.840.10008.5.1.1.15"
PRESENTATION_LUT = "1.2.840.10008.5.1.1.23"
CONFIGURATION = """[[GENERAL]]
[DATABASE]
Directory = {directory}/db
[PRINT]
Directory = {directory}/spool
[[COMMUNICATION]]
[FILM]
Type = LOCALPRINTER
Aetitle = FILM
Hostname = localhost
Port = {port}
DisableNewVRs = false
FilmSizeID = 8INX10IN\\14INX17IN
MediumType = PAPER\\BLUE FILM\\CLEAR FILM
FilmDestination = MAGAZINE\\PROCESSOR\\BIN_1
MagnificationType = REPLICATE\\BILINEAR\\CUBIC\\NONE
MaxPDU = 32768
PresentationLUTMatchRequired = false
PresentationLUTinFilmSession = false
Supports12Bit = true
SupportsPresentationLUT = true
SupportsDecimateCrop = true
SupportsTrim = true
SupportsImageSize = true
BorderDensity = BLACK\\WHITE
EmptyImageDensity = BLACK\\WHITE
DisplayFormat = 1,1\\2,2\\1,2\\2,1\\3,3\\4,4
Annotation = 2\\LABEL
AnnotationDisplayFormatID = LABEL
ImplicitOnly = false
"""
OPTIONAL = ("BorderDensity", "EmptyImageDensity", "MagnificationType", "Annotation")


@dataclass
class DcmtkPrinter:
    """A running dcmprscp and what it has stored."""

    port: int
    directory: Path

    def stored(self) -> list[Dataset]:
        """Return the Stored Print objects, the oldest first."""
        return [one for one in self._read() if "FilmBoxContentSequence" in one]

    def bitmaps(self, stored: Dataset) -> dict[int, Dataset]:
        """Return the hardcopy images of a film by position."""
        known = {str(one.SOPInstanceUID): one for one in self._read() if "PixelData" in one}
        found = {}
        for item in stored.ImageBoxContentSequence:
            images = item.get("ReferencedImageSequence")
            if images:
                found[int(item.ImageBoxPosition)] = known[str(images[0].ReferencedSOPInstanceUID)]
        return found

    def log(self) -> str:
        """Return the end of what it has written."""
        return (self.directory / "log").read_text(errors="replace")[-3000:]

    def _read(self) -> list[Dataset]:
        paths = sorted((self.directory / "db").glob("*.dcm"), key=lambda path: path.stat().st_mtime)
        return [dcmread(path, force=True) for path in paths]


@asynccontextmanager
async def dcmprscp(directory: Path, *, strict: bool = False) -> AsyncIterator[DcmtkPrinter]:
    """Run DCMTK's print SCP; a strict one refuses what an SCP may refuse (PS3.4 H.4.2)."""
    port = free_port()
    for part in ("db", "spool"):
        (directory / part).mkdir(parents=True)
    configuration = directory / "dcmprscp.cfg"
    lines = CONFIGURATION.format(directory=directory, port=port).splitlines(keepends=True)
    kept = [line for line in lines if not (strict and line.startswith(OPTIONAL))]
    configuration.write_text("".join(kept))
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "dcmprscp",
            "-v",
            "-c",
            configuration,
            "-p",
            "FILM",
            stdout=log,
            stderr=log,
            cwd=directory,
        )
        try:

            async def listens() -> bool:
                assert process.returncode is None, (directory / "log").read_text()
                return await _answers(port)

            await until(listens)
            yield DcmtkPrinter(port, directory)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


@dataclass
class Printed:
    """A film that came out of the scripted printer."""

    images: dict[int, Dataset]
    film_box: Dataset


@dataclass
class ScriptedPrinter:
    """A printer that obeys its script.

    Attributes:
        statuses: answer to a service, such as `N_CREATE film`; 0 without.
        acting: is called in the N-ACTION, before it is answered.
        odd: attributes of answers that hold text where a sequence belongs.
        films: that came out.
    """

    port: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    acting: Callable[[Any], None] = lambda _: None
    setting: Callable[[Any], None] = lambda _: None
    deleting: Callable[[Any], None] = lambda _: None
    printer: tuple[str, str] = ("NORMAL", "NORMAL")
    job_states: list[str] = field(default_factory=lambda: ["DONE"])
    annotations: int = 2
    print_job_sequence: int = 0x21000500
    odd: tuple[int, ...] = ()
    films: list[Printed] = field(default_factory=list)
    sessions: list[Dataset] = field(default_factory=list)
    luts: list[Dataset] = field(default_factory=list)
    notes: dict[str, Dataset] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def _status(self, name: str) -> int:
        self.calls.append(name)
        return self.statuses.get(name, 0)

    def create(self, event: Any) -> tuple[int, Dataset | None]:
        """N-CREATE."""
        given: Dataset = event.attribute_list
        kind = str(event.request.AffectedSOPClassUID)
        state: dict[str, Any] = event.assoc.__dict__.setdefault("film_state", {})
        if kind.endswith("5.1.1.1"):
            self.sessions.append(given)
            return self._status("create session"), given
        if kind == PRESENTATION_LUT:
            self.luts.append(given)
            return self._status("create lut"), given
        status = self._status("create film")
        made = Dataset()
        made.update(given)
        made.ReferencedImageBoxSequence = []
        kindless = str(given.ImageDisplayFormat).partition("\\")[2]
        numbers = [int(part) for part in kindless.split(",")]
        boxes = numbers[0] * numbers[1]
        state["film"] = Printed({}, given)
        state["boxes"] = {}
        for position in range(1, boxes + 1):
            item = Dataset()
            item.ReferencedSOPClassUID = "1.2.840.10008.5.1.1.4"
            item.ReferencedSOPInstanceUID = generate_uid()
            state["boxes"][str(item.ReferencedSOPInstanceUID)] = position
            made.ReferencedImageBoxSequence.append(item)
        if "AnnotationDisplayFormatID" in given:
            made.ReferencedBasicAnnotationBoxSequence = []
            for _ in range(self.annotations):
                item = Dataset()
                item.ReferencedSOPClassUID = ANNOTATION_BOX
                item.ReferencedSOPInstanceUID = generate_uid()
                made.ReferencedBasicAnnotationBoxSequence.append(item)
        return status, self._odd(made)

    def _odd(self, answer: Dataset) -> Dataset:
        for tag in self.odd:
            if tag in answer:
                answer.add_new(tag, "LO", "Planted^Name")
        return answer

    def set(self, event: Any) -> tuple[int, Dataset | None]:
        """N-SET."""
        self.setting(event)
        if str(event.request.RequestedSOPClassUID) == ANNOTATION_BOX:
            self.notes[str(event.request.RequestedSOPInstanceUID)] = event.attribute_list
            return self._status("set annotation"), None
        state = event.assoc.__dict__["film_state"]
        position = state["boxes"][str(event.request.RequestedSOPInstanceUID)]
        state["film"].images[position] = event.attribute_list
        return self._status("set image"), None

    def act(self, event: Any) -> tuple[int, Dataset | None]:
        """N-ACTION: the film comes out, unless it is refused."""
        status = self._status("act")
        if status == 0 or status & 0xF000 == 0xB000:
            with self.lock:
                self.films.append(event.assoc.__dict__["film_state"]["film"])
        self.acting(event)
        answer = Dataset()
        item = Dataset()
        item.ReferencedSOPClassUID = PRINT_JOB
        item.ReferencedSOPInstanceUID = generate_uid()
        answer.add_new(self.print_job_sequence, "SQ", [item])
        return status, self._odd(answer)

    def get(self, event: Any) -> tuple[int, Dataset | None]:
        """N-GET of the printer or of a print job."""
        answer = Dataset()
        if str(event.request.RequestedSOPClassUID) == PRINT_JOB:
            states = self.job_states
            answer.ExecutionStatus = states.pop(0) if len(states) > 1 else states[0]
            answer.ExecutionStatusInfo = "NORMAL" if states[0] != "FAILURE" else "FILM JAM"
            return self._status("get job"), answer
        answer.PrinterStatus, answer.PrinterStatusInfo = self.printer
        return self._status("get printer"), answer

    def delete(self, event: Any) -> int:
        """N-DELETE."""
        self.deleting(event)
        return self._status("delete")


@contextmanager
def scripted(
    *,
    meta_only: bool = False,
    colour: bool = True,
    tls: SSLContext | None = None,
    host: str = LOOPBACK,
) -> Iterator[ScriptedPrinter]:
    """Run a scripted printer."""
    printer = ScriptedPrinter()
    ae = AE(ae_title="FILM")
    ae.add_supported_context(GRAYSCALE_META)
    if colour:
        ae.add_supported_context(COLOUR_META)
    if not meta_only:
        for context in (PRESENTATION_LUT, ANNOTATION_BOX, PRINT_JOB):
            ae.add_supported_context(context)
    server = ae.start_server(
        (host, 0),
        block=False,
        ssl_context=tls,
        evt_handlers=[
            (evt.EVT_N_CREATE, printer.create),
            (evt.EVT_N_SET, printer.set),
            (evt.EVT_N_ACTION, printer.act),
            (evt.EVT_N_GET, printer.get),
            (evt.EVT_N_DELETE, printer.delete),
        ],
    )
    assert server is not None
    assert server.socket is not None
    printer.port = server.socket.getsockname()[1]
    try:
        yield printer
    finally:
        server.shutdown()
