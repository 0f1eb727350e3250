"""Looks at PDF documents, in a worker: whether anybody can open them."""

import io
import logging
from typing import Final

import pypdf
from pypdf.errors import PyPdfError

from darkroom_api.objects.pictures import NoPicture

MOST_PAGES: Final = 2000
_BEGINS: Final = b"%PDF-"
_HEAD: Final = 1024
"""Bytes in which it has to begin (ISO 32000-1, annex H)."""


def check(body: bytes) -> int:
    """Return the pages of a PDF document.

    Raises:
        NoPicture: it is none, is damaged, wants a password, or has too many pages.
    """
    if _BEGINS not in body[:_HEAD]:
        raise NoPicture("It is no PDF document.")
    logging.getLogger("pypdf").disabled = True  # it quotes what it reads
    try:
        document = pypdf.PdfReader(io.BytesIO(body))
        if document.is_encrypted:
            raise NoPicture("The document wants a password: nobody could read it here.")
        pages = len(document.pages)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError):
        raise NoPicture("The PDF document is damaged.") from None
    if not 0 < pages <= MOST_PAGES:
        raise NoPicture(f"It has {pages} pages; 1 to {MOST_PAGES} are taken.")
    return pages
