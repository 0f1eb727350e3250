"""Receivers to measure, each on an empty directory: Darkroom, Orthanc and DCMTK's storescp."""

import asyncio
import json
import os
import shutil
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.support.services import Services

START_LIMIT = 30.0


@dataclass(frozen=True)
class Receiver:
    """A running receiver."""

    name: str
    port: int
    http_port: int = 0


def environment(*, best: bool) -> dict[str, str]:
    """The environment of a DCMTK program; Debian's leaves Nagle's algorithm on."""
    return os.environ | ({"TCP_NODELAY": "1"} if best else {})


@asynccontextmanager
async def _process(*command: str, env: dict[str, str], cwd: Path) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=env,
        cwd=cwd,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
        await asyncio.to_thread(shutil.rmtree, cwd)


async def _until_it_listens(port: int) -> None:
    async with asyncio.timeout(START_LIMIT):
        while True:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


@asynccontextmanager
async def orthanc(
    directory: Path, *, best: bool, sync: bool = True, plugins: Sequence[Path] = ()
) -> AsyncIterator[Receiver]:
    """Orthanc of Debian.

    Args:
        directory: is made, and removed at the end.
        best: without Nagle's algorithm, and with a thread for each association.
        sync: whether it fsyncs what it writes, as it does when shipped.
        plugins: that it loads.
    """
    directory.mkdir()
    port, http_port = free_port(), free_port()
    given = {
        "StorageDirectory": str(directory / "storage"),
        "IndexDirectory": str(directory / "storage"),
        "DicomPort": port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "SyncStorageArea": sync,
        "Plugins": [str(plugin) for plugin in plugins],
    } | ({"DicomThreadsCount": 10} if best else {})
    config = directory / "orthanc.json"
    config.write_text(json.dumps(given))
    name = "Orthanc" + ("" if sync else ", fsync off")
    async with _process("Orthanc", str(config), env=environment(best=best), cwd=directory):
        await _until_it_listens(port)
        await _until_it_listens(http_port)
        yield Receiver(name, port, http_port)


def orthanc_instances(receiver: Receiver) -> int:
    """How many instances Orthanc finds."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{receiver.http_port}/statistics") as answer:
        return int(json.loads(answer.read())["CountInstances"])


@asynccontextmanager
async def storescp(directory: Path, *, best: bool) -> AsyncIterator[Receiver]:
    """DCMTK's storescp with a process for each association; it never fsyncs."""
    directory.mkdir()
    port = free_port()
    command = ("storescp", "--fork", "+xa", "-od", str(directory), str(port))
    async with _process(*command, env=environment(best=best), cwd=directory):
        await _until_it_listens(port)
        yield Receiver("storescp --fork, no fsync", port)


@asynccontextmanager
async def darkroom(services: Services, *names: str) -> AsyncIterator[Receiver]:
    """Darkroom's services, the relay and RabbitMQ at work beside receiving."""
    services.directory.mkdir(exist_ok=True)
    await services.start(*names)
    try:
        yield Receiver("Darkroom", services.dicom_port)
    finally:
        await services.stop()
        services.running.clear()
        for directory in (services.spool, services.store):
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
