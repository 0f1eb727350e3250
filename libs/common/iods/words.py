"""Reads conditions and values out of what the standard says of an attribute."""

import re
from html import unescape
from typing import Any, Final

from dicom_validator.spec_reader.condition_parser import ConditionParser
from pydicom.datadict import DicomDictionary, dictionary_VR

_NUMBERS: Final = frozenset({"US", "SS", "UL", "SL", "US or SS", "UV", "SV"})
_TAG: Final = re.compile(r"\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)")
_LIST: Final = re.compile(
    r"<strong>\s*(Enumerated Values?|Defined Terms?)([^<]*?):?\s*</strong>\s*</p>\s*<dl>(.*?)</dl>",
    re.DOTALL | re.IGNORECASE,
)
_TERM: Final = re.compile(r"<dt>\s*<span>(.*?)</span>\s*</dt>", re.DOTALL)
_SHARED_ONLY: Final = "per-frame functional group"


def plain(text: str) -> str:
    """Return the words of HTML."""
    return re.sub(r"\s+", " ", unescape(re.sub("<[^>]+>", " ", text))).strip()


class Words:
    """Reads conditions."""

    def __init__(self) -> None:
        known = {
            f"({tag >> 16:04X},{tag & 0xFFFF:04X})": {"name": row[2], "vr": row[0], "vm": row[1]}
            for tag, row in DicomDictionary.items()
        }
        self._parser = ConditionParser(known)

    def condition(self, text: str) -> Any:
        """Return [kind, condition, other or None, None]; None when it cannot be decided."""
        text = plain(text).replace("Required Pixel", "Required if Pixel")
        found = self._parser.parse(text).result_dict() if text else {}
        kind = str(getattr(found.get("type"), "value", found.get("type")))
        if kind not in ("MN", "MU", "MC", "NU"):
            return None
        expression = _expression(found)
        if expression is None:
            return None
        if kind == "MU" and _is_whole(text, expression) and "may be" not in text.lower():
            kind = "MN"
        if kind == "MC":
            other = _expression(found.get("other_cond", {}))
            return [kind, expression, other, None] if other else ["MU", expression, None, None]
        return [kind, expression, None, None]


def _is_whole(text: str, expression: Any) -> bool:
    """Tell whether a condition is all that is said of when an attribute is there."""
    sentences = [part for part in re.split(r"(?<=[a-z)\]\"])\. ", text) if "equired" in part]
    if len(sentences) != 1 or "shall" in sentences[0].split("equired", 1)[1]:
        return False
    words = sentences[0].split("equired", 1)[1]
    named = {int("".join(parts), 16) for parts in _TAG.findall(words)}
    joined = len(re.findall(r"\b(?:or|and)\b", words))
    return named == _tags(expression) and joined <= _joins(expression)


def _tags(expression: Any) -> set[int]:
    if expression[0] in ("and", "or"):
        return set().union(*map(_tags, expression[1:]))
    return {expression[1]}


def _joins(expression: Any) -> int:
    if expression[0] in ("and", "or"):
        return len(expression) - 2 + sum(map(_joins, expression[1:]))
    values = expression[3:]
    return len(values[0]) - 1 if values else 0


def _expression(found: dict[str, Any]) -> Any:
    for word in ("and", "or"):
        if found.get(word):
            parts = [_expression(one) for one in found[word]]
            return None if None in parts else [word, *parts]
    if not found.get("tag"):
        return None
    tag = int(found["tag"][1:5] + found["tag"][6:10], 16)
    sign = str(getattr(found["op"], "value", found["op"]))
    if sign in ("+", "++", "-", "!0"):
        return [sign, tag]
    values = found.get("values") or []
    if not values or sign == "=>":
        return None
    return [sign, tag, found.get("index", 0), values]


def items(text: str) -> tuple[int, int]:
    """Return the least and the most items of a sequence; 0 and -1 where nothing is said."""
    said = plain(text).lower()
    if re.search(r"zero or one item|at most one item|no more than one item", said):
        return 0, 1
    if "only a single item" in said:
        return 1, 1
    return int("one or more items shall" in said or "one or more items are" in said), -1


class Lists:
    """Reads the values that an attribute may have."""

    def __init__(self, text: str) -> None:
        self._text = text

    def found(self, tag: int) -> Any:
        """Return [[place from 1 or 0 for any, whether enumerated, values], ...]; None for none."""
        lists = []
        vr = dictionary_VR(tag)
        for kind, of, terms in _LIST.findall(self._text):
            place = re.fullmatch(r"\s*for Value (\d)", plain(of)) if of.strip() else None
            if of.strip() and place is None:
                return None  # it depends on something
            values = [plain(term) for term in _TERM.findall(terms)]
            if vr in _NUMBERS:
                values = [_number(value) for value in values]
            if not values or None in values:
                return None
            number = int(place.group(1)) if place else 0
            lists.append([number, int(kind.lower().startswith("enum")), values])
        places = [one[0] for one in lists]
        return lists if lists and len(set(places)) == len(places) else None


def _number(text: str) -> int | None:
    found = re.fullmatch(r"(?:0x)?([0-9A-Fa-f]+)(H?)", text)
    if found is None:
        return None
    digits, hexadecimal = found.groups()
    return int(digits, 16 if hexadecimal else 10) if hexadecimal or digits.isdigit() else None
