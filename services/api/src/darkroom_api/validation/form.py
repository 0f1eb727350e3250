"""The file in a form (RFC 7578), found by the worker: the api looks at nothing that is uploaded."""

from email.message import Message
from typing import Final

_HEADERS: Final = 8192
"""Bytes of the headers of a part."""
_MOST_PARTS: Final = 16


class NoFile(ValueError):
    """The form has no part that is named `file`, or is no form."""


def boundary_of(content_type: str) -> bytes | None:
    """Return what separates the parts of a form; None when the media type names nothing."""
    said = Message()
    said["content-type"] = content_type
    boundary = said.get_boundary()
    return boundary.encode("latin-1", "replace") if boundary else None


def file_in(body: bytes, boundary: bytes) -> memoryview:
    """Return the content of the part that is named `file`.

    Raises:
        NoFile: see there.
    """
    mark = b"--" + boundary
    at = body.find(mark)
    if at < 0:
        raise NoFile("the form has no parts")
    for _ in range(_MOST_PARTS):
        at += len(mark)
        if body[at : at + 2] != b"\r\n":
            break
        end = body.find(b"\r\n\r\n", at, at + _HEADERS)
        if end < 0:
            break
        start = end + 4
        close = body.find(b"\r\n" + mark, start)
        if close < 0:
            break
        if _is_file(body[at + 2 : end]):
            return memoryview(body)[start:close]
        at = close + 2
    raise NoFile("the form has no part that is named file")


def _is_file(headers: bytes) -> bool:
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            said = Message()
            said["content-disposition"] = value.decode("latin-1").strip()
            return said.get_param("name", header="content-disposition") == "file"
    return False
