"""Framing of `multipart/related` answers (RFC 2046, RFC 2387)."""

import secrets
from dataclasses import dataclass, field

CRLF = b"\r\n"


def _boundary() -> str:
    # 128 random bits: no object holds them by chance.
    return f"darkroom-{secrets.token_hex(16)}"


@dataclass(frozen=True)
class Framing:
    """The boundary of one answer and what stands between its parts."""

    part_type: str
    boundary: str = field(default_factory=_boundary)

    @property
    def content_type(self) -> str:
        """Return the Content-Type of the whole."""
        return f'multipart/related; type="{self.part_type}"; boundary={self.boundary}'

    def head(
        self, content_type: str, *, first: bool, length: int | None = None, location: str = ""
    ) -> bytes:
        """Return what stands before a part's bytes; `first` has no line break before it."""
        lines = [f"--{self.boundary}", f"Content-Type: {content_type}"]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        if location:
            lines.append(f"Content-Location: {location}")
        text = "\r\n".join([*lines, "", ""])
        return (b"" if first else CRLF) + text.encode("ascii")

    @property
    def tail(self) -> bytes:
        """Return what stands after the last part."""
        return f"\r\n--{self.boundary}--\r\n".encode("ascii")
