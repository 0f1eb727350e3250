"""What the tests of DICOM over TLS send, and with which settings."""

import ssl
import time
from typing import Any

from tests.support.builders import CT, a_data_set, encode
from tests.support.certificates import Pair
from tests.support.dicom_peer import ECHO, Association

EXPLICIT = "1.2.840.10008.1.2.1"
CONTEXTS = {1: (CT, EXPLICIT), 3: (ECHO, "1.2.840.10008.1.2")}


def tls_settings(pair: Pair, **more: Any) -> dict[str, Any]:
    return {"dicom_tls_certificate": pair.certificate, "dicom_tls_key": pair.key, **more}


def an_object(size: int = 0) -> tuple[str, bytes]:
    changes = {"PixelData": bytes(range(256)) * (size // 256)} if size else {}
    data_set = a_data_set(**changes)
    return str(data_set.SOPInstanceUID), encode(data_set)


def echo(port: int, tls: ssl.SSLContext | None) -> float:
    """Return how long an association with a C-ECHO took."""
    began = time.monotonic()
    with Association(port, CONTEXTS, tls=tls) as peer:
        assert peer.echo(3) == 0
    return time.monotonic() - began
