"""What is open while a data set is walked, and who is told of it."""

from typing import Final, Protocol

SEQUENCE: Final = 0
ITEMS: Final = 1
"""An item: elements stand in it, as in the data set itself."""
FRAGMENTS: Final = 2


class Open:
    """What is open: a sequence, an item, or fragments.

    Attributes:
        kind: `SEQUENCE`, `ITEMS` or `FRAGMENTS`.
        implicit: whether elements in it have no VR; None until the first of an item tells.
        end: of the innermost whose length is defined, itself or around it.
        defined: whether its own length is.
    """

    __slots__ = ("defined", "end", "implicit", "kind")

    def __init__(self, kind: int, implicit: bool | None, end: int, *, defined: bool) -> None:
        self.kind = kind
        self.implicit = implicit
        self.end = end
        self.defined = defined


class Watcher(Protocol):
    """Is told what a walk meets. A VR is b"" where there is none, or none that is known."""

    def value(self, tag: int, vr: bytes, start: int, length: int) -> None:
        """Take note of an element of defined length that is no sequence, or an empty one."""
        ...

    def sequence(self, tag: int, vr: bytes, start: int) -> None:
        """Take note that a sequence begins."""
        ...

    def item(self) -> None:
        """Take note that an item begins, in the sequence that was opened last."""
        ...

    def fragments(self, tag: int, vr: bytes, start: int) -> None:
        """Take note that encapsulated fragments begin."""
        ...

    def closed(self, end: int) -> None:
        """Take note that what was opened last has ended; `end` is behind its content."""
        ...

    def damaged(self, depth: int) -> None:
        """Take note that of what is open only `depth` go on, and the last has lost its rest."""
        ...

    def is_sequence(self, tag: int, length: int) -> bool:
        """Tell whether a private element without a VR, or as UN, is known for a sequence."""
        ...
