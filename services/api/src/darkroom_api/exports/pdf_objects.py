"""Objects of a portable document (ISO 32000-1 section 7.5), written one after the other.

What is written is kept no longer: of each object there stays where it begins.
"""

import zlib
from array import array
from typing import Final

_LEVEL: Final = 6


class PdfObjects:
    """Writes objects, in any order; what refers to one needs its number alone."""

    def __init__(self) -> None:
        self._written = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
        self._before = 0
        self._offsets = array("Q")

    def number(self) -> int:
        """Return the number of an object that is yet to be written."""
        self._offsets.append(0)
        return len(self._offsets)

    def put(self, body: str | bytes, number: int | None = None) -> int:
        """Write an object; return its number."""
        number = number or self.number()
        self._offsets[number - 1] = self._before + len(self._written)
        data = body.encode("ascii") if isinstance(body, str) else body
        self._written += b"%d 0 obj\n%b\nendobj\n" % (number, data)
        return number

    def stream(self, data: bytes, entries: str = "", number: int | None = None) -> int:
        """Write a stream; return its number."""
        packed = zlib.compress(data, _LEVEL)
        head = f"<< /Length {len(packed)} /Filter /FlateDecode {entries} >>\nstream\n"
        return self.put(head.encode("ascii") + packed + b"\nendstream", number)

    @property
    def waiting(self) -> int:
        """Bytes that `taken` would return."""
        return len(self._written)

    def taken(self) -> bytes:
        """Return what was written since this was last asked."""
        data = bytes(self._written)
        self._before += len(data)
        self._written.clear()
        return data

    def finish(self, catalog: int, info: int) -> bytes:
        """Return the end of the document: where its objects are."""
        start = self._before + len(self._written)
        lines = [f"{offset:010d} 00000 n \n" for offset in self._offsets]
        size = len(self._offsets) + 1
        self._written += f"xref\n0 {size}\n0000000000 65535 f \n{''.join(lines)}".encode()
        trailer = f"<< /Size {size} /Root {catalog} 0 R /Info {info} 0 R >>"
        self._written += f"trailer\n{trailer}\nstartxref\n{start}\n%%EOF\n".encode()
        return self.taken()


def pdf_text(text: str) -> str:
    """Return a text outside of pages (section 7.9.2.2)."""
    return f"<FEFF{text.encode('utf-16-be', 'replace').hex()}>"
