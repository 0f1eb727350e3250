"""Answers to searches of one study that were asked for before: viewers and worklists ask again.

As with instances that were looked up before, what is kept in mind is answered only when the index
says, in the statement that writes the row of the audit log, that its rows are still the same.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from starlette.types import Scope

from darkroom_common.index.rows import Versions

KEPT: Final = 8 << 20
"""Bytes of answers."""
LARGEST: Final = 256 << 10
"""Bytes of one answer that is kept."""
ASKED: Final = 10_000
"""Searches that are kept in mind, with or without an answer."""
_DIGEST: Final = 16


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer: the versions of what it was made of, its body, and its headers."""

    versions: Versions
    body: bytes
    headers: dict[str, str]


def key_of(base: str, scope: Scope, form: str) -> bytes:
    """Return what tells a search from any other."""
    said = f"{form}\n{base}\n{scope['path']}\n".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(said + scope["query_string"], digest_size=_DIGEST).digest()


class KnownSearches:
    """The answers that were asked for last. What is asked for once alone is not kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Kept | None] = OrderedDict()
        self._size = 0

    def recall(self, key: bytes) -> Kept | None:
        """Return the answer to a search, as it was."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def is_asked_again(self, key: bytes) -> bool:
        """Tell whether a search was asked before, and keep in mind that it is asked now."""
        again = key in self._kept
        self._kept.setdefault(key)
        self._kept.move_to_end(key)
        self._make_room()
        return again

    def keep(self, key: bytes, kept: Kept) -> None:
        """Keep an answer in mind, unless it is too large."""
        if len(kept.body) > LARGEST:
            return
        self._drop(key)
        self._kept[key] = kept
        self._size += len(kept.body)
        self._make_room()

    def forget(self, versions: Versions) -> None:
        """Forget what was made of rows that are not the same any more."""
        for key, kept in list(self._kept.items()):
            if kept is not None and kept.versions == versions:
                self._drop(key)

    def _make_room(self) -> None:
        while len(self._kept) > ASKED or self._size > KEPT:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= len(kept.body)
