"""Where a licence comes from: Odoo, or a file that somebody has brought."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from darkroom_common.errors import PermanentError
from darkroom_licensing.decision import Source
from darkroom_licensing.document import LONGEST, Document, InvalidLicence, PublicKeys, read
from darkroom_licensing.odoo.faults import OdooUnreachable

MODEL: Final = "darkroom.licence"
METHOD: Final = "issue"
"""Of the vendor's module in Odoo; see docs/licensing.md."""
INSTALLED: Final = "licence.txt"
"""In LICENCE_DIRECTORY: what `darkroom licence install` has put there."""
_LONGEST_REASON: Final = 200


class LicenceRefused(PermanentError):
    """Odoo has answered that there is no licence for this installation; the text says why."""


@dataclass(frozen=True)
class Reader:
    """Reads documents.

    Attributes:
        keys: that sign them.
        installation: whose they must be.
    """

    keys: PublicKeys
    installation: str

    def read(self, text: str) -> Document:
        """Return a document.

        Raises:
            InvalidLicence: see there.
        """
        return read(text, self.keys, installation=self.installation)


class Issuer(Protocol):
    """Hands out the licence."""

    @property
    def source(self) -> Source:
        """What kind of issuer it is now."""
        ...

    @property
    def every(self) -> float:
        """Seconds between questions while they are answered."""
        ...

    async def issue(self) -> str:
        """Return the document as it is now.

        Raises:
            LicenceRefused, InvalidLicence: see there.
            DarkroomError: it cannot be asked; the text says why.
        """
        ...


class Caller(Protocol):
    """Whoever calls methods of Odoo; see `Keys`."""

    async def call(self, model: str, method: str, params: dict[str, Any]) -> Any:
        """Return what a method has returned."""
        ...


class OdooIssuer:
    """Asks Odoo for a document that is signed for this very question."""

    source: Source = "odoo"

    def __init__(self, odoo: Caller, reader: Reader, release: str, every: float) -> None:
        self.every = every
        self._odoo = odoo
        self._reader = reader
        self._release = release

    async def issue(self) -> str:
        """See `Issuer.issue`."""
        nonce = secrets.token_urlsafe(16)
        params = {
            "installation": self._reader.installation,
            "release": self._release,
            "nonce": nonce,
        }
        answer = await self._odoo.call(MODEL, METHOD, params)
        match answer:
            case {"refused": str(reason)}:
                raise LicenceRefused(_plain(reason) or "there is no licence for this installation")
            case {"document": str(text)}:
                if not secrets.compare_digest(
                    self._reader.read(text).nonce.encode(), nonce.encode()
                ):
                    raise InvalidLicence("the licence document was signed for another question")
                return text
            case _:
                raise OdooUnreachable("its answer holds no licence document")


class FileIssuer:
    """Reads a file, each time again: it may be replaced while we run.

    Args:
        path: of the setting; None: what is installed in the directory counts, once it is there.
        directory: see LICENCE_DIRECTORY.
    """

    every = 0.0

    def __init__(self, path: Path | None, directory: Path | None) -> None:
        self._path = path
        self._installed = None if directory is None else directory / INSTALLED

    @property
    def source(self) -> Source:
        """`none`, as long as there is neither the setting nor an installed file."""
        there = self._path is not None or (self._installed is not None and self._installed.exists())
        return "file" if there else "none"

    async def issue(self) -> str:
        """See `Issuer.issue`."""
        path = self._path or self._installed
        if path is None:
            raise InvalidLicence("there is no licence file")
        try:
            with path.open(encoding="ascii") as file:
                return file.read(LONGEST + 1).strip()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InvalidLicence(f"the licence file cannot be read: {reason}") from error
        except UnicodeDecodeError as error:
            raise InvalidLicence("the licence file is no licence document") from error


def _plain(reason: str) -> str:
    return "".join(one if one.isprintable() else " " for one in reason)[:_LONGEST_REASON].strip()
