"""What the header says of one frame, wherever a multi-frame object keeps it (PS3.3 C.7.6.16)."""

import math
from collections.abc import Sequence
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

_TEXT: Final = ("DS", "IS")
"""VRs of numbers that are text, and in real objects not always a number."""


class FrameHeader:
    """The attributes of one frame: of its functional groups, of the shared ones, of the object.

    Attributes:
        warnings: what could not be followed, and what was shown instead; no text holds a value.
    """

    def __init__(self, dataset: Dataset, frame: int) -> None:
        self.dataset = dataset
        self.frame = frame
        self.warnings: list[str] = []
        per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
        shared = dataset.get("SharedFunctionalGroupsSequence") or []
        groups = [*per_frame[frame - 1 : frame], *shared[:1]]
        self._items: list[Dataset] = [
            element.value[0]
            for group in groups
            for element in group
            if element.VR == "SQ" and element.value
        ]

    def warn(self, text: str) -> None:
        """Say what could not be followed, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def get(self, keyword: str) -> Any:
        """Return the value nearest to the frame; None when there is none."""
        for item in (*self._items, self.dataset):
            if keyword in item and (value := item.get(keyword)) is not None:
                return value
        return None

    def decimals(self, keyword: str) -> list[float | None]:
        """Return the values of a numeric attribute, None for each that is no finite number.

        It is empty when the attribute is absent or has no value.
        """
        tag = tag_for_keyword(keyword)
        for item in (*self._items, self.dataset):
            if tag is None or tag not in item:
                continue
            stands: Any = item.get_item(tag)
            if isinstance(stands, RawDataElement) and (stands.VR or dictionary_VR(tag)) in _TEXT:
                given: list[Any] = bytes(stands.value or b"").decode("latin-1").split("\\")
            else:
                given = _listed(item.get(keyword))
            if found := decimals_of(given):
                return found
        return []

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return the values of a numeric attribute; none when it is absent or they are no numbers.

        In the second case there is a warning.
        """
        found = self.decimals(keyword)
        known = tuple(one for one in found if one is not None)
        if len(known) < len(found):
            self.warn(f"its {keyword} is not a number, and is not followed")
            return ()
        return known

    def word(self, keyword: str) -> str:
        """Return a code string; empty when it is absent."""
        return str(self.get(keyword) or "").strip().upper()

    def items(self, keyword: str) -> Sequence[Dataset]:
        """Return the items of a sequence; none when it is absent."""
        found = self.get(keyword)
        return list(found) if found else []


def decimals_of(given: Sequence[Any]) -> list[float | None]:
    """Return values as numbers, None for each that is no finite one; nothing if all are empty."""
    if any(str("" if one is None else one).strip(" \0") for one in given):
        return [_decimal(one) for one in given]
    return []


def _listed(value: Any) -> list[Any]:
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return list(value) if several else [value]


def _decimal(value: Any) -> float | None:
    """Return a finite number; None for anything else, a comma instead of the point included."""
    try:
        found = float(value.strip(" \0") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) and "_" not in str(value) else None
