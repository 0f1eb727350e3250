"""What clients call themselves (RFC 9110 section 10.1.5): a header that may hold anything."""

import re
from typing import Final

CONSOLE: Final = "Darkroom-Console"
"""What a person's act in the console is known by, before the names of the browser."""
_NAMES: Final = (
    CONSOLE,
    *("AppleWebKit", "Chrome", "Chromium", "CriOS", "Edg", "Edge", "EdgA", "EdgiOS", "Firefox"),
    *("FxiOS", "Gecko", "HeadlessChrome", "Mobile", "Mozilla", "OPR", "Opera", "Safari", "Version"),
    *("Apache-HttpClient", "Go-http-client", "Java", "PostmanRuntime", "Python", "Wget", "aiohttp"),
    *("axios", "curl", "node", "node-fetch", "okhttp", "python-httpx", "python-requests"),
    *("DCMTK", "Horos", "OHIF", "Orthanc", "OsiriX", "Weasis", "darkroom", "dcm4che"),
    *("dicomweb-client", "locust", "schemathesis", "wrk"),
)
_KNOWN: Final = re.compile(
    rf"(?<![^\s])(?:{'|'.join(map(re.escape, _NAMES))})(?:/\d{{1,8}}(?:\.\d{{1,8}}){{0,4}})?(?!\S)"
)


def known_agent(text: str) -> str:
    """Return the products of a User-Agent that are known, with their versions, and nothing else.

    Comments and everything else may be a patient's name, and are left out.
    """
    return " ".join(_KNOWN.findall(text))
