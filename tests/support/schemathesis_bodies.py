"""Bodies of STOW-RS for the fuzzer: of both kinds that the document names, whole and broken."""

import zlib
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st
from schemathesis.transport import register_serializer

from tests.support.builders import a_data_set
from tests.support.stow import BOUNDARY, DICOM, TYPE, Part, a_body, a_file

_FILE: Final = a_file(a_data_set())
_METADATA: Final = b'[{"00080018": {"vr": "UI", "Value": ["2.25.7"]}}]'
_RELATED: Final = "multipart/related"
_JSON: Final = "application/dicom+json"
_XML: Final = "application/dicom+xml"
_NAMED: Final = (
    TYPE,
    TYPE,
    TYPE,
    f'{_RELATED}; type="{_JSON}"; boundary={BOUNDARY}',
    f'{_RELATED}; type="{_XML}"; boundary={BOUNDARY}',
    f"{_RELATED}; boundary=another",
    f'{_RELATED}; boundary=""',
    _RELATED,
)
"""What the request says of its body, by the checksum of that: the same each time."""


def _cut(body: bytes) -> st.SearchStrategy[bytes]:
    return st.integers(0, len(body)).map(lambda end: body[:end])


_CONTENT: Final = st.one_of(
    st.just(_FILE), st.just(_METADATA), _cut(_FILE), st.binary(max_size=200)
)
_PARTS: Final = st.builds(Part, _CONTENT, st.sampled_from((DICOM, DICOM, _JSON, _XML, "")))
_WHOLE: Final = st.lists(_PARTS, max_size=4).map(a_body)


def register() -> None:
    """Have the fuzzer make and send them."""
    schemathesis.openapi.media_type(DICOM, _CONTENT)
    schemathesis.openapi.media_type(
        _RELATED, st.one_of(_WHOLE, _WHOLE.flatmap(_cut), st.binary(max_size=200))
    )
    register_serializer(_related, _RELATED)


def _related(_: Any, value: Any) -> dict[str, Any]:
    body = value if isinstance(value, bytes) else str(value).encode(errors="replace")
    named = _NAMED[zlib.crc32(body) % len(_NAMED)]
    return {"data": body, "headers": {"Content-Type": named}}
