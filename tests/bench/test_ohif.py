"""OHIF in a browser on Darkroom: what it shows, and how long a reader waits (P14).

Needs `OHIF_DIST`, the folder `dist` of npm's `@ohif/app`, and Playwright for Python; the browser is
`CHROMIUM`, or Debian's. Pictures go to `OHIF_PICTURES`.
"""

import asyncio
import importlib
import json
import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ImplicitVRLittleEndian, RTStructureSetStorage
from reportlab.pdfgen.canvas import Canvas

from darkroom_local.engines.ports import free_port
from tests.bench import report
from tests.bench.report import QUICK, Table
from tests.integration.api.conftest import Api, running_api
from tests.support.builders import a_data_set, new_uid
from tests.support.services import Services

DIST = os.environ.get("OHIF_DIST", "")
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PICTURES = Path(os.environ.get("OHIF_PICTURES", tempfile.gettempdir()))
pytestmark = pytest.mark.skipif(not DIST, reason="needs OHIF: OHIF_DIST")
SLICES = 50 if QUICK else 500
SIZE = (1024, 640)
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--disable-dev-shm-usage"]
UNDISTURBED = """
performance.setResourceTimingBufferSize(5000);
addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style');
  style.textContent = '.shepherd-element, .shepherd-modal-overlay-container'
    + ' { display: none !important; }';
  document.head.append(style);
});
"""  # no tour through the viewer over the image
CONFIG = """
window.config = {
  routerBasename: null, extensions: [], modes: [], customizationService: {}, showStudyList: true,
  maxNumberOfWebWorkers: 2, showLoadingIndicator: true, strictZSpacingForVolumeViewport: true,
  maxNumRequests: {interaction: 100, thumbnail: 5, prefetch: 25}, defaultDataSourceName: 'darkroom',
  dataSources: [{namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'darkroom', configuration: {friendlyName: 'Darkroom', name: 'darkroom',
    wadoUriRoot: ROOT, qidoRoot: ROOT, wadoRoot: ROOT, qidoSupportsIncludeField: true,
    imageRendering: 'wadors', thumbnailRendering: 'wadors', enableStudyLazyLoad: true,
    supportsFuzzyMatching: true, supportsWildcard: true, omitQuotationForMultipartRequest: true,
    bulkDataURI: {enabled: true}}}],
};
"""


REQUESTS = """() => performance.getEntriesByType('resource')
  .filter(one => one.name.includes('/dicom-web/'))
  .map(one => [one.name, one.startTime / 1000, one.responseEnd / 1000])"""


class _Viewer(SimpleHTTPRequestHandler):
    """OHIF, with our configuration; every route of it is its page."""

    root = ""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0]
        if name == "/app-config.js":
            body = CONFIG.replace("ROOT", json.dumps(self.root)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        if not (Path(DIST) / name.lstrip("/")).is_file():
            self.path = "/index.html"
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def viewer(port: int, root: str) -> Iterator[str]:
    handler = type("Viewer", (_Viewer,), {"root": root})
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(handler, directory=DIST))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
async def services(tmp_path: Path, superuser_url: str, amqp_url: str) -> AsyncIterator[Services]:
    made = Services(tmp_path, superuser_url, amqp_url)
    yield made
    await made.stop()


@pytest.fixture
async def house(services: Services) -> AsyncIterator[tuple[Api, int]]:
    port = free_port()
    services.extra |= {
        "CORS_ORIGINS": json.dumps([f"http://127.0.0.1:{port}"]),
        "DEVELOPMENT": "true",
        "FF_AUTH_ENABLED": "false",
    }
    async with running_api(services) as made:
        yield made, port


def a_volume(count: int) -> list[Dataset]:
    """Return the slices of a CT of 512 x 512: a ball that gets smaller."""
    y, x = np.mgrid[:512, :512]
    radius = np.hypot(y - 256, x - 256)
    study, series, frame = new_uid(), new_uid(), new_uid()
    made = []
    for number in range(count):
        pixels = np.where(radius < 200 - number * 150 / count, 1100, 0).astype("<u2")
        one = a_data_set(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            PatientID="CT500",
            PatientName="CT^Volume",
            StudyDescription=f"CT of {count}",
            SeriesDescription="axial",
            Modality="CT",
            FrameOfReferenceUID=frame,
            InstanceNumber=number + 1,
            ImagePositionPatient=[-256, -256, number],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1, 1],
            SliceThickness=1,
            Rows=512,
            Columns=512,
            BitsAllocated=16,
            BitsStored=16,
            HighBit=15,
            PixelRepresentation=0,
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            RescaleIntercept=-1024,
            RescaleSlope=1,
            WindowCenter=40,
            WindowWidth=400,
        )
        one.PixelData = pixels.tobytes()
        one["PixelData"].VR = "OW"
        made.append(one)
    return made


def a_structure(volume: list[Dataset]) -> Dataset:
    """Return an RT structure set with one contour on every tenth slice of a volume."""
    one = a_data_set(
        SOPClassUID=RTStructureSetStorage,
        StudyInstanceUID=volume[0].StudyInstanceUID,
        PatientID=volume[0].PatientID,
        PatientName=volume[0].PatientName,
        Modality="RTSTRUCT",
        SeriesDescription="contours",
        StructureSetLabel="contours",
        FrameOfReferenceUID=volume[0].FrameOfReferenceUID,
    )
    for name in ("Rows", "Columns", "PixelData", "BitsAllocated"):
        if name in one:
            delattr(one, name)
    images = [
        items(
            ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID
        )
        for image in volume
    ]
    series = items(SeriesInstanceUID=volume[0].SeriesInstanceUID, ContourImageSequence=images)
    study = items(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=volume[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    frame = str(volume[0].FrameOfReferenceUID)
    one.ReferencedFrameOfReferenceSequence = [
        items(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])
    ]
    one.StructureSetROISequence = [
        items(ROINumber=1, ReferencedFrameOfReferenceUID=frame, ROIName="ball")
    ]
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring = np.stack([170 * np.cos(angles), 170 * np.sin(angles)], axis=1)
    contours = [
        items(
            ContourImageSequence=[images[number]],
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(ring),
            ContourData=[round(float(v), 2) for x, y in ring for v in (x, y, number)],
        )
        for number in range(0, len(volume), 10)
    ]
    one.ROIContourSequence = [
        items(ReferencedROINumber=1, ROIDisplayColor=[255, 64, 64], ContourSequence=contours)
    ]
    one.RTROIObservationsSequence = [
        items(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN")
    ]
    return one


def items(**values: Any) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def a_document() -> Dataset:
    written = BytesIO()
    page = Canvas(written)
    page.drawString(100, 700, "A report of Darkroom")
    page.save()
    one = a_data_set(
        SOPClassUID=EncapsulatedPDFStorage,
        Modality="DOC",
        PatientID="PDF",
        MIMETypeOfEncapsulatedDocument="application/pdf",
    )
    for name in ("Rows", "Columns", "PixelData", "BitsAllocated"):
        if name in one:
            delattr(one, name)
    data = written.getvalue()
    one.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    return one


def sample(name: str, kind: str) -> tuple[Dataset, str, bytes]:
    """Return a sample file of pydicom: its data set, transfer syntax and bytes."""
    path = Path(str(get_testdata_file(name)))
    found = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in found.file_meta:  # a file without a preamble
        found.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    found.PatientID, found.PatientName = kind, f"{kind}^Sample"
    syntax = str(found.file_meta.TransferSyntaxUID)
    written = BytesIO()
    found.save_as(written, enforce_file_format=True)
    data = written.getvalue()
    start = len(data) - len(_data_set_of(data))
    return found, syntax, data[start:]


def _data_set_of(data: bytes) -> bytes:
    length = int.from_bytes(data[140:144], "little")
    return data[144 + length :]


SAMPLES: dict[str, str] = {
    "MR": "MR_small.dcm",
    "compressed": "JPEG2000.dcm",
    "multi-frame": "examples_ybr_color.dcm",
    "US-colour": "examples_rgb_color.dcm",
    "SR": "reportsi.dcm",
}


def lit(picture: bytes) -> float:
    """Return the share of pixels of the middle of a picture that are bright."""
    image = np.asarray(Image.open(BytesIO(picture)).convert("L"))
    rows, columns = image.shape
    middle = image[rows // 4 : rows * 3 // 4, columns * 2 // 5 : columns * 4 // 5]
    return float((middle > 90).mean())


def look(url: str, studies: dict[str, str], structures: str) -> dict[str, Any]:
    """Use OHIF as a reader does; return what was measured and which pictures were lit."""
    playwright = importlib.import_module("playwright.sync_api")
    found: dict[str, Any] = {"lit": {}}
    PICTURES.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.set_default_timeout(60_000)
        page.add_init_script(UNDISTURBED)
        page.goto(url)
        page.get_by_text(re.compile("CT.{1,2}Volume")).first.wait_for()
        page.screenshot(path=PICTURES / "study-list.png")
        for kind, uid in studies.items():
            begun = time.monotonic()
            page.goto(f"{url}/viewer?StudyInstanceUIDs={uid}")
            share, picture = 0.0, b""
            limit = 60 if kind == "CT" else 25
            while share < 0.01 and time.monotonic() - begun < limit:
                page.wait_for_timeout(100)
                picture = page.screenshot()
                share = lit(picture)
            found["lit"][kind] = share
            if kind == "CT":
                found["first"] = time.monotonic() - begun
                found["frame"], found["waited"] = served(page.evaluate(REQUESTS))
                found["late"] = scroll(page)
            page.wait_for_timeout(1500)
            page.screenshot(path=PICTURES / f"{kind.lower()}.png")
        page.goto(f"{url}/viewer?StudyInstanceUIDs={structures}")
        found["contours"] = contours(page)
        browser.close()
    return found


def served(requests: list[tuple[str, float, float]]) -> tuple[float, float]:
    """Return when the first frame was there, and how long until then DICOMweb was waited for.

    Args:
        requests: address, begin and end of each, in seconds from the click.
    """
    frame = min(end for name, _, end in requests if "/frames/" in name and end)
    waited, at = 0.0, 0.0
    for begin, end in sorted((begin, min(end or frame, frame)) for _, begin, end in requests):
        waited += max(0.0, end - max(at, begin))
        at = max(at, end)
    return frame, waited


def contours(page: Any) -> int:
    """Open the structure set of the study; return how many pixels have the colour of its ROI."""
    page.get_by_text("contours").first.dblclick()
    page.wait_for_timeout(8000)
    picture = page.screenshot(path=PICTURES / "rt.png")
    image = np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(int)
    return int(((image[..., 0] > 180) & (image[..., 1] < 110) & (image[..., 2] < 110)).sum())


def scroll(page: Any) -> list[float]:
    """Scroll through the images; return how long each step takes to be drawn, in ms."""
    page.wait_for_timeout(5000)
    page.mouse.move(SIZE[0] * 0.6, SIZE[1] * 0.5)
    taken = []
    for _ in range(20):
        begun = time.monotonic()
        page.mouse.wheel(0, 100)
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => done(1)))")
        taken.append((time.monotonic() - begun) * 1000)
    return taken


async def test_p14_ohif_shows_every_kind(house: tuple[Api, int]) -> None:
    api, port = house
    volume, document = a_volume(SLICES), a_document()
    await api.seed.add(*volume)
    planned = a_volume(20)  # a study of its own: OHIF shows the structures of a study first
    await api.seed.add(*planned, a_structure(planned), document)
    studies = {"CT": str(volume[0].StudyInstanceUID)}
    for kind, name in SAMPLES.items():
        data_set, syntax, encoded = sample(name, kind)
        await api.seed.add(data_set, transfer_syntax=syntax, encoded=encoded)
        studies[kind] = str(data_set.StudyInstanceUID)
    studies["PDF"] = str(document.StudyInstanceUID)
    with viewer(port, f"{api.url}/dicom-web") as url:
        found = await asyncio.to_thread(look, url, studies, str(planned[0].StudyInstanceUID))
    table = Table("P14: OHIF in Chromium without a graphics processor", "")
    table.add(f"click to first image of a CT of {SLICES}, s", "", found["first"])
    table.add("of it until the first frame was in the browser, s", "", found["frame"])
    table.add("of that with a request to DICOMweb under way, s", "", found["waited"])
    table.add("scrolling, a step drawn, median ms", "", statistics.median(found["late"]))
    report.write("What a reader waits for", "OHIF 3.13, software rendering.", [table])
    dark = [kind for kind, share in found["lit"].items() if share < 0.005]
    assert not dark, found
    assert found["contours"] > 200, found
