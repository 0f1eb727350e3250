"""What `darkroom up` says when all is ready."""

import os
import socket

from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.stack.layout import Layout, Settings
from darkroom_local.stack.plan import open_to_all
from darkroom_local.stack.state import base_url


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
