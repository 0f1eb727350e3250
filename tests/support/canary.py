"""Names that tests plant, and where they must not be found (OBS-03)."""

import json
from collections.abc import Iterable
from urllib.parse import quote

_CHARSETS = ("utf-8", "latin-1", "iso8859-7", "iso8859-5", "iso2022_jp", "shift_jis", "gb18030")
PLANTED = ("Planted^Name", "PLANTED-1")
"""Name and id of the patient of `builders.a_data_set`."""


def forms(value: str) -> set[bytes]:
    """Return the bytes that a text may be found as."""
    found = {quote(value).encode(), json.dumps(value)[1:-1].encode()}
    found.add(value.encode("unicode_escape"))
    for charset in _CHARSETS:
        try:
            found.add(value.encode(charset))
        except UnicodeEncodeError:
            continue
    return found


def found_in(content: bytes, values: Iterable[str]) -> set[str]:
    """Return the values that are in some bytes, in any form and whatever their case."""
    lower = content.lower()
    return {one for one in values if any(form.lower() in lower for form in forms(one))}
