"""Studies, series and instances as one ZIP file (PS3.18 section 8.7.3.1), made while it is sent."""

import asyncio
import zipfile
from collections.abc import AsyncIterator, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.dicomweb.accept import MediaRange
from darkroom_api.dicomweb.retrieving.composite import Extent, batches, read_now
from darkroom_api.dicomweb.retrieving.sending import bodiless, etag_of, unless_known, validators
from darkroom_api.dicomweb.retrieving.streaming import DICOM
from darkroom_api.edge.head import is_head
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import begin
from darkroom_common.dicom.identity import is_conformant
from darkroom_common.index.rows import StoredInstance
from darkroom_common.objects.store import ObjectStore

ZIP: Final = "application/zip"
_READABLE: Final = 0o644 << 16


def prefers_zip(ranges: Sequence[MediaRange], instances: Sequence[StoredInstance]) -> bool:
    """Tell whether a client likes a ZIP file best of what it accepts.

    The objects in it are as they are stored: a range that names another transfer syntax takes none.
    """
    for wanted in ranges:
        if wanted.takes_parts(DICOM) or (len(instances) == 1 and wanted.takes(DICOM)):
            return False
        if wanted.takes(ZIP):
            return all(wanted.takes_syntax(one.transfer_syntax_uid) for one in instances)
    return False


async def zipped(request: Request, instances: Sequence[StoredInstance]) -> Response:
    """Return instances as files of a ZIP file, a folder for each series.

    Raises:
        ObjectMissing, StoreUnavailable: as the store, for the first of them; the others cut it off.
    """
    etag = etag_of(instances, ZIP)
    headers = {"content-type": ZIP, **validators(etag)}
    headers["content-disposition"] = 'attachment; filename="dicom.zip"'
    if known := unless_known(request, etag):
        return known
    if is_head(request):
        return bodiless(headers)
    chunks = _chunks(parts_of(request.scope).store, instances)
    return StreamingResponse(await begin(chunks), headers=headers)


class _Sink:
    """Takes what is written, until it is sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: all of it is taken."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def taken(self) -> bytes:
        data, self._pieces = b"".join(self._pieces), []
        return data


async def _chunks(store: ObjectStore, instances: Sequence[StoredInstance]) -> AsyncIterator[bytes]:
    sink = _Sink()
    names = _names(instances)
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as file:
        for one, name in zip(instances, names, strict=True):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = _READABLE
            entry.file_size = one.object_size
            with file.open(entry, "w", force_zip64=one.object_size >= zipfile.ZIP64_LIMIT) as into:
                for batch in batches([Extent(one.object_key, 0, one.object_size)]):

                    def add(some: list[Extent | bytes] = batch) -> None:
                        for data in read_now(store, some):
                            into.write(data)

                    await asyncio.to_thread(add)
                    yield sink.taken()
    yield sink.taken()


def _names(instances: Sequence[StoredInstance]) -> list[str]:
    """Return a name for each file; nothing of a patient is in it, nor what a path may not hold."""
    series: dict[str, int] = {}
    found = []
    for number, one in enumerate(instances, 1):
        folder = series.setdefault(one.series_instance_uid, len(series) + 1)
        uid = one.sop_instance_uid
        found.append(f"series-{folder:04}/{uid if is_conformant(uid) else number}.dcm")
    return found
