"""What is sent: the bytes of a data set in a file, as they are stored or as they were made over."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from darkroom_transmit.destinations.destination import Destination


@dataclass(frozen=True, slots=True)
class Item:
    """One instance of a job, and where it is stored.

    Attributes:
        faults: how often an association has ended while it was under way.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    object_key: str
    size: int
    data_set_offset: int
    faults: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """The data set to send, in a file.

    Attributes:
        item: the instance as it is stored.
        sop_instance_uid: under which it is sent: another one than stored when de-identified.
        offset: where the data set begins.
        size: its bytes.
        left_out: tags of elements that could not be said in it.
    """

    item: Item
    path: str | Path
    offset: int
    size: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    left_out: tuple[str, ...] = ()


class Preparer(Protocol):
    """Makes what a destination takes: transcoded, de-identified, or just as it is stored."""

    def at_once(
        self, item: Item, destination: Destination, wanted: tuple[str, ...]
    ) -> Source | None:
        """Return the data set if it is ready as it is stored; else `prepare` has to be asked.

        Args:
            item: the instance.
            destination: whom it is for.
            wanted: as for `prepare`.
        """
        ...

    def prepare(
        self, item: Item, destination: Destination, wanted: tuple[str, ...]
    ) -> AbstractAsyncContextManager[Source]:
        """Hold the data set ready for the length of a block.

        Args:
            item: the instance.
            destination: whom it is for; its `deidentify` names a profile.
            wanted: transfer syntaxes of which it must have one, the best first; none: as stored.

        Raises:
            CannotPrepare: nothing that is there can do this.
            PreparationUnavailable: it may work later.
        """
        ...
