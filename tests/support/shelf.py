"""Objects in files and an index of them in memory: DICOMweb without engines."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
from fastapi import FastAPI
from pydicom.dataset import Dataset
from starlette.types import Message, Receive, Scope, Send

from darkroom_api.dicomweb import capabilities, metadata
from darkroom_api.dicomweb.retrieving import levels, objects, parsing, uri, values
from darkroom_api.edge.cross_origin import CrossOrigin
from darkroom_api.edge.directory import Directory
from darkroom_api.edge.edge import Edge
from darkroom_api.edge.hosts import Hosts
from darkroom_api.http import handlers
from darkroom_api.http.middleware import RequestScope
from darkroom_api.rendering import rendering, routes
from darkroom_api.rendering.cache import Cache
from darkroom_common.index.rows import KnownInstances, StoredInstance
from darkroom_common.objects.store import FileSystemStore
from darkroom_common.workers.pool import open_workers
from tests.support.builders import encode
from tests.support.headers import header_in

EXPLICIT = "1.2.840.10008.1.2.1"
BASE = "http://archive.example"
VIEWER = "https://viewer.example"


def file_meta(transfer_syntax: str) -> bytes:
    """Return preamble and group 2 with nothing but the transfer syntax."""
    value = transfer_syntax.encode() + b"\0" * (len(transfer_syntax) % 2)
    element = b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(element).to_bytes(4, "little")
    return bytes(128) + b"DICM" + length + element


@dataclass
class Shelf:
    """What is stored, and a client."""

    root: Path
    client: httpx.AsyncClient
    rows: list[StoredInstance] = field(default_factory=list)
    headers_of: dict[str, bytes] = field(default_factory=dict)
    read: int = 0

    def add(self, data_set: Dataset, syntax: str = EXPLICIT, encoded: bytes | None = None) -> bytes:
        """Store an object and return its bytes."""
        body = encode(data_set, syntax) if encoded is None else encoded
        whole = file_meta(syntax) + body
        digest = hashlib.sha256(body)
        key = f"{digest.hexdigest()}.dcm"
        (self.root / key).write_bytes(whole)
        uid = str(data_set.SOPInstanceUID)
        self.headers_of[uid] = orjson.dumps(header_in(whole))
        self.rows.append(
            StoredInstance(
                len(self.rows),
                str(data_set.StudyInstanceUID),
                str(data_set.SeriesInstanceUID),
                uid,
                str(data_set.SOPClassUID),
                syntax,
                key,
                len(body),
                len(whole) - len(body),
                digest.digest(),
                data_set.get("Rows"),
                data_set.get("Columns"),
                data_set.get("BitsAllocated"),
                data_set.get("NumberOfFrames") and int(data_set.NumberOfFrames),
            )
        )
        return whole

    # What an index reader does

    async def stored(
        self, study: str | None = None, series: str | None = None, instance: str | None = None
    ) -> list[StoredInstance]:
        return [
            one
            for one in self.rows
            if study in (None, one.study_instance_uid)
            and series in (None, one.series_instance_uid)
            and instance in (None, one.sop_instance_uid)
        ]

    async def instance(self, uid: str) -> StoredInstance | None:
        return next((one for one in self.rows if one.sop_instance_uid == uid), None)

    async def frame_places(self, one: StoredInstance) -> bytes | None:
        return one.frame_places

    async def headers(
        self, instances: Sequence[StoredInstance]
    ) -> AsyncIterator[list[tuple[StoredInstance, bytes]]]:
        self.read += 1
        yield [(one, self.headers_of[one.sop_instance_uid]) for one in instances]


def url_of(data_set: Dataset, level: str = "instance") -> str:
    """Return the path of a study, series or instance."""
    url = f"/dicom-web/studies/{data_set.StudyInstanceUID}"
    if level != "study":
        url += f"/series/{data_set.SeriesInstanceUID}"
    if level == "instance":
        url += f"/instances/{data_set.SOPInstanceUID}"
    return url


@asynccontextmanager
async def open_shelf(root: Path) -> AsyncIterator[Shelf]:
    """Answer for objects below a directory; workers start when they are first needed."""
    app = FastAPI()
    for module in (objects, values, levels, uri, capabilities, routes, metadata):
        module.add(app)
    handlers.install(app)
    app.router.middleware_stack = Directory(app)
    edge = Edge((), Hosts(frozenset()), CrossOrigin(frozenset({VIEWER})), tls=False)
    outer = RequestScope(app, edge)

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        head = scope["method"] == "HEAD"

        async def sending(message: Message) -> None:  # as the server does
            if head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await outer(scope, receive, sending)

    store = FileSystemStore(root)
    async with AsyncExitStack() as until:
        where = root.as_uri()
        finders = await until.enter_async_context(
            open_workers(
                parsing.MODULE, str(parsing.MEMORY), where, processes=1, longest=parsing.LONGEST
            )
        )
        renderers = await until.enter_async_context(
            open_workers(rendering.MODULE, str(2 << 30), where, processes=1)
        )
        transport = httpx.ASGITransport(silent)
        client = await until.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60)
        )
        shelf = Shelf(root, client)
        settings: Any = SimpleNamespace(public_url=BASE)
        finding = parsing.Parsing(store, finders, shelf.frame_places, processes=1)
        app.state.parts = SimpleNamespace(
            reader=shelf,
            store=store,
            settings=settings,
            parsing=finding,
            rendering=rendering.Rendering(
                renderers, Cache("rendered", 1 << 20), processes=1, places=finding.places
            ),
            kept_metadata=Cache("metadata", 1 << 20),
            known=KnownInstances(),
        )
        yield shelf
