"""What the header says of one frame, wherever a multi-frame object keeps it (PS3.3 C.7.6.16)."""

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset

from darkroom_print.composing.exchange import Unrenderable


class FrameHeader:
    """The attributes of one frame: of its functional groups, of the shared ones, of the object."""

    def __init__(self, dataset: Dataset, frame: int) -> None:
        self.dataset = dataset
        self.frame = frame
        per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
        shared = dataset.get("SharedFunctionalGroupsSequence") or []
        groups = [*per_frame[frame - 1 : frame], *shared[:1]]
        self._items: list[Dataset] = [
            element.value[0]
            for group in groups
            for element in group
            if element.VR == "SQ" and element.value
        ]

    def get(self, keyword: str) -> Any:
        """Return the value nearest to the frame; None when there is none."""
        for item in (*self._items, self.dataset):
            if keyword in item and (value := item.get(keyword)) is not None:
                return value
        return None

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return the values of a numeric attribute; none when it is absent.

        Raises:
            Unrenderable: they are no numbers.
        """
        value = self.get(keyword)
        if value is None or value == "":
            return ()
        listed = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        try:
            return tuple(float(one) for one in listed)
        except (TypeError, ValueError) as error:
            raise Unrenderable(f"its {keyword} is not a number") from error

    def word(self, keyword: str) -> str:
        """Return a code string; empty when it is absent."""
        return str(self.get(keyword) or "").strip().upper()

    def items(self, keyword: str) -> Sequence[Dataset]:
        """Return the items of a sequence; none when it is absent."""
        found = self.get(keyword)
        return list(found) if found else []
