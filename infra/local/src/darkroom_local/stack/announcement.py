"""What `darkroom up` says when all is ready."""

import asyncio
import os
import socket
from asyncio.subprocess import DEVNULL, PIPE
from typing import Final

from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.stack.layout import Layout, Settings
from darkroom_local.stack.plan import Plan, open_to_all
from darkroom_local.stack.state import base_url
from darkroom_local.stack.view import View

_ONCE: Final = "good once, for 15 minutes"
_LINK_SECONDS: Final = 120.0


async def offer_link(ready: asyncio.Event, view: View, settings: Settings) -> None:
    """Write a way in for whoever sits at a terminal; elsewhere it would go into a log."""
    await ready.wait()
    if view.is_terminal:
        view.banner(await one_time_link(settings))


async def one_time_link(settings: Settings) -> list[str]:
    """Return lines with an address that opens the console once; none when there is none to be had.

    It is for a terminal alone: whoever reads it first is the administrator.
    """
    command = Plan.of_running(settings.data).sign_in_link([])
    process = await asyncio.create_subprocess_exec(
        *command.arguments, env=dict(command.environment), stdout=PIPE, stderr=DEVNULL
    )
    try:
        async with asyncio.timeout(_LINK_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return []
    http = base_url(settings.http_host, settings.http_port, tls=settings.http_tls)
    if process.returncode != 0:  # who has a second factor signs in with it
        return []
    return [f"  open now  {http}/sign-in#once={said.decode().strip()}", f"            {_ONCE}"]


def announcement(settings: Settings, layout: Layout, took: float) -> list[str]:
    """Return the lines: where everything is, and who may send; `took` seconds after the start."""
    http = base_url(settings.http_host, settings.http_port, tls=settings.http_tls)
    exposed = settings.http_host != LOOPBACK and not settings.http_tls
    return [
        "Darkroom is ready",
        f"  after     {took:.1f} s",
        *_dicom(settings),
        f"  console   {http}/sign-in",
        f"  REST      {http}/api/v1",
        *([f"            without TLS on {settings.http_host}: read along the way"] * exposed),
        f"  DICOMweb  {http}/dicom-web",
        f"  OpenAPI   {http}/docs",
        *([f"  trust     {layout.tls / 'ca.pem'}"] * (settings.tls is not None)),
        f"  log in    user admin, password in {layout.admin_password}",
        "  stop      Ctrl-C",
    ]


def _dicom(settings: Settings) -> list[str]:
    host = f"{socket.gethostname()} ({LOOPBACK})"
    title, port, reports = settings.ae_title, settings.plain_dicom_port, settings.commitment_port
    ports = [] if port is None else [f"port {port}"]
    if settings.tls is not None:
        ports.append(f"TLS on port {settings.tls.dicom_port}")
    elif os.environ.get("DARKROOM_DICOM_TLS_CERTIFICATE"):
        ports.append(f"TLS on port {os.environ.get('DARKROOM_DICOM_TLS_PORT', '2762')}")
    return [
        f"  DICOM     AE title {title}, {' and '.join(ports)} of {host}",
        "            OPEN: any sender of this machine and, until one is named, of private"
        " networks; any called AE title (docs/security.md)"
        if open_to_all()
        else "            unknown senders: " + os.environ["DARKROOM_UNKNOWN_AE"],
        *([f"            reports of storage commitment on port {reports}"] if reports else []),
    ]
