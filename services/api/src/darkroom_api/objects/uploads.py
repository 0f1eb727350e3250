"""The form that an object is made of (RFC 7578): its parts are told apart, none is looked into."""

from collections.abc import AsyncIterator
from email.message import Message
from typing import Final

from darkroom_common.stow.media import parse_media_type
from darkroom_common.stow.multipart import (
    MalformedMultipart,
    Multipart,
    PartBegins,
    PartEnds,
    PartLimits,
)

FORM: Final = "multipart/form-data"
VALUES: Final = "values"
MOST_VALUES: Final = 1 << 20
"""Bytes of the values."""
_NO_FORM: Final = "It is cut off, or is no form."
_LIMITS: Final = PartLimits(parts=4, fields=10)


class NoForm(ValueError):
    """The body is no such form; the text says what is wrong with it."""


class Form:
    """Takes a body as it comes.

    Args:
        content_type: of the request.
        wanted: the name of the part with what the object is made of.

    Attributes:
        parts: by their names, in pieces.

    Raises:
        NoForm: the media type names no form.
    """

    def __init__(self, content_type: str, wanted: str) -> None:
        media = parse_media_type(content_type)
        if media is None or media.kind != FORM or not media.get("boundary"):
            raise NoForm("It has to be multipart/form-data with a boundary.")
        try:
            self._reader = Multipart(media.get("boundary"), _LIMITS)
        except MalformedMultipart:
            raise NoForm("Its boundary is none.") from None
        self._wanted = (VALUES, wanted)
        self._name = ""
        self.parts: dict[str, list[bytes]] = {}

    async def read(self, chunks: AsyncIterator[bytes]) -> tuple[bytes, list[bytes]]:
        """Return the values as they are written, and what the object is made of, in pieces.

        Raises:
            NoForm: a part is missing, is there twice, is too long, or is one that nobody knows. The
                body has come whole all the same: who sends it reads no answer before.
        """
        fault: NoForm | None = None
        async for chunk in chunks:
            if fault is None:
                fault = self._fault_of(chunk)
        if fault is not None:
            raise fault
        if not self._reader.ended:
            raise NoForm(_NO_FORM)
        for name in self._wanted:
            if not any(self.parts.get(name, ())):
                raise NoForm(f"Its part {name} is missing or empty.")
        return b"".join(self.parts[VALUES]), self.parts[self._wanted[1]]

    def _fault_of(self, chunk: bytes) -> NoForm | None:
        try:
            self._feed(chunk)
        except MalformedMultipart:
            return NoForm(_NO_FORM)
        except NoForm as fault:
            return fault
        return None

    def _feed(self, chunk: bytes) -> None:
        for event in self._reader.feed(chunk):
            match event:
                case PartBegins(fields):
                    self._name = _name(fields.get("content-disposition", ""))
                    if self._name not in self._wanted or self._name in self.parts:
                        raise NoForm(f"Its parts are {' and '.join(self._wanted)}, each once.")
                    self.parts[self._name] = []
                case PartEnds():
                    self._name = ""
                case memoryview():
                    self.parts[self._name].append(bytes(event))
        if sum(map(len, self.parts.get(VALUES, ()))) > MOST_VALUES:
            raise NoForm("Its values are too long.")


def _name(disposition: str) -> str:
    said = Message()
    said["content-disposition"] = disposition
    name = said.get_param("name", header="content-disposition")
    return name if isinstance(name, str) else ""
