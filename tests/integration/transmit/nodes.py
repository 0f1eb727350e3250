"""Other nodes to ask: DCMTK's worklist and archive, Orthanc, and pynetdicom with any manners."""

import json
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.support.waiting import until_true

SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
STORE_SYNTAXES = [*SYNTAXES, "1.2.840.10008.1.2.4.90"]
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
WORKLIST = "1.2.840.10008.5.1.4.31"
MPPS = "1.2.840.10008.3.1.2.3.3"


def write_file(path: Path, data_set: Dataset, syntax: str = str(ExplicitVRLittleEndian)) -> None:
    """Write a file with meta information."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data_set.get("SOPClassUID", WORKLIST)
    meta.MediaStorageSOPInstanceUID = data_set.get("SOPInstanceUID", "2.25.1")
    meta.TransferSyntaxUID = UID(syntax)
    data_set.file_meta = meta
    data_set.save_as(path, enforce_file_format=True)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    def listens() -> bool:
        assert process.poll() is None, f"it did not come up:\n{log.read_text()[-2000:]}"
        with socket.socket() as client:
            client.settimeout(1)
            return client.connect_ex((LOOPBACK, port)) == 0

    until_true(listens, f"it listens, as {log} says")


@contextmanager
def node(port: int, log: Path, *command: str) -> Iterator[None]:
    """Run a node until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ)
    try:
        _wait_for(port, process, log)
        yield
    finally:
        process.kill()
        process.wait(20)


@contextmanager
def worklist_node(directory: Path, items: Sequence[Dataset]) -> Iterator[int]:
    """DCMTK's wlmscpfs with these items, as AE title RIS."""
    port = free_port()
    place = directory / "worklist" / "RIS"
    place.mkdir(parents=True)
    (place / "lockfile").touch()
    for number, item in enumerate(items):
        write_file(place / f"{number:04}.wl", item)
    command = ("wlmscpfs", "-dfp", str(place.parent), "--enable-file-reject", str(port))
    with node(port, directory / "wlmscpfs.log", *command):
        yield port


@contextmanager
def archive_node(
    directory: Path, files: Iterable[tuple[Dataset, str]], *, move_to: tuple[str, int]
) -> Iterator[int]:
    """DCMTK's dcmqrscp with these objects, as AE title ARCHIVE; it knows one move destination."""
    port = free_port()
    place = directory / "archive"
    place.mkdir(parents=True)
    title, move_port = move_to
    config = directory / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nours = ({title}, {LOOPBACK}, {move_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {place} RW (200, 1024mb) ANY\nAETable END\n"
    )
    written = []
    for number, (data_set, syntax) in enumerate(files):
        path = place / f"{number:05}.dcm"
        write_file(path, data_set, syntax)
        written.append(str(path))
    if written:
        subprocess.run(["dcmqridx", str(place), *written], check=True, capture_output=True)
    command = ("dcmqrscp", "-c", str(config), "+xs", str(port))
    with node(port, directory / "dcmqrscp.log", *command):
        yield port


@contextmanager
def orthanc_node(directory: Path, *, move_to: tuple[str, int]) -> Iterator[tuple[int, int]]:
    """Orthanc as AE title ORTHANC; yields its DICOM and HTTP ports."""
    port, http_port = free_port(), free_port()
    config = directory / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "StorageDirectory": str(directory / "orthanc"),
                "IndexDirectory": str(directory / "orthanc"),
                "DicomPort": port,
                "HttpPort": http_port,
                "DicomAet": "ORTHANC",
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "Plugins": [],
                "DicomAlwaysAllowFind": True,
                "DicomAlwaysAllowGet": True,
                "DicomAlwaysAllowMove": True,
                "DicomAlwaysAllowStore": True,
                "DicomModalities": {"darkroom": [move_to[0], LOOPBACK, move_to[1]]},
            }
        )
    )
    with node(port, directory / "orthanc.log", "Orthanc", str(config)):
        yield port, http_port


@contextmanager
def scripted(contexts: Iterable[str], handlers: list[Any], title: str = "PEER") -> Iterator[int]:
    """A pynetdicom node that does what the handlers say."""
    ae = AE(title)
    for uid in contexts:
        ae.add_supported_context(uid, SYNTAXES, scu_role=True, scp_role=True)
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        # It closes the sockets of those that end by themselves.
        with suppress(AssertionError):
            until_true(lambda: not ae.active_associations)
        server.shutdown()
