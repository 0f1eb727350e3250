"""Darkroom as its users have it: `darkroom up`, a login, DICOMweb."""

import asyncio
import hashlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from darkroom_common.dicom.part10 import decode_head
from darkroom_local.engines.ports import LOOPBACK, free_port
from darkroom_local.stack.state import ProcessState, StackState, base_url, trusting

START_LIMIT = 90.0
STOP_LIMIT = 40.0


def data_set_of(part10: bytes) -> bytes:
    """The data set's bytes of a DICOM file."""
    return part10[decode_head(part10)[1] :]


def parts_of(response: httpx.Response) -> list[bytes]:
    """The bodies of a multipart answer (RFC 2046)."""
    match = re.search(r'boundary="?([^";]+)"?', response.headers["content-type"])
    assert match, response.headers["content-type"]
    pieces = response.content.split(b"--" + match[1].encode())
    assert pieces[-1].strip() == b"--"
    return [piece.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for piece in pieces[1:-1]]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class DarkroomUp:
    """`darkroom up` in a process of its own."""

    data: Path
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    commitment_port: int = field(default_factory=free_port)
    settings: Mapping[str, str] = field(default_factory=dict)
    dicom_tls_port: int | None = None
    """With it, all links are over TLS."""
    command: Sequence[str] = (str(Path(sys.executable).with_name("darkroom")),)
    process: asyncio.subprocess.Process | None = None
    output: list[str] = field(default_factory=list)
    _reader: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return base_url(LOOPBACK, self.http_port, tls=self.dicom_tls_port is not None)

    async def start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DARKROOM_")}
        environment["DARKROOM_LOG_LEVEL"] = "DEBUG"  # more to look through for planted names
        environment |= self.settings
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            "up",
            "--data",
            str(self.data),
            "--dicom-port",
            str(self.dicom_port),
            "--http-port",
            str(self.http_port),
            "--commitment-port",
            str(self.commitment_port),
            *self._options(),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read(ready))
        async with asyncio.timeout(START_LIMIT):
            await ready.wait()
        assert self.process.returncode is None, "\n".join(self.output)

    def _options(self) -> list[str]:
        port = self.dicom_tls_port
        return [] if port is None else ["--tls", "--dicom-tls-port", str(port)]

    async def _read(self, ready: asyncio.Event) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output.append(line.decode().rstrip())
            if "Darkroom is ready" in self.output[-1]:
                ready.set()
        ready.set()

    async def stop(self) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_LIMIT):
            code = await self.process.wait()
        if self._reader is not None:
            await self._reader
        return code

    def processes(self) -> dict[str, ProcessState]:
        state = StackState.read(self.data / "run" / "state.json")
        assert state is not None
        return {process.name: process for process in state.processes}

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Log in as the first administrator, as the README says."""
        password = (self.data / "admin-password").read_text().strip()
        ca = None if self.dicom_tls_port is None else str(self.data / "tls" / "ca.pem")
        async with httpx.AsyncClient(base_url=self.url, timeout=30, verify=trusting(ca)) as client:
            answer = await client.post(
                "/api/v1/auth/login", json={"username": "admin", "password": password}
            )
            answer.raise_for_status()
            client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            yield client


async def instances(client: httpx.AsyncClient, **keys: str) -> list[dict[str, Any]]:
    """All instances that QIDO finds, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await client.get(
            "/dicom-web/instances", params={**keys, "limit": "200", "offset": str(len(found))}
        )
        answer.raise_for_status()
        page = answer.json() if answer.status_code == 200 else []
        found += page
        if len(page) < 200:
            return found


def value(element: dict[str, Any], tag: str) -> str:
    return str(element[tag]["Value"][0])


async def fetch(client: httpx.AsyncClient, instance: dict[str, Any]) -> bytes:
    """One instance by WADO-RS, as it is stored."""
    path = (
        f"/dicom-web/studies/{value(instance, '0020000D')}/series/{value(instance, '0020000E')}"
        f"/instances/{value(instance, '00080018')}"
    )
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    answer = await client.get(path, headers={"Accept": accept})
    answer.raise_for_status()
    (part,) = parts_of(answer)
    return part
