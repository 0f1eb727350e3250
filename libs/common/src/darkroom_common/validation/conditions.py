"""Decides conditions of the table on what an object holds."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from darkroom_common.validation.content import Item
from darkroom_common.validation.table import Expression

_SHARED: Final = 0x52009229
_PER_FRAME: Final = 0x52009230
_JOINED: Final = {"and": all, "or": any}


def holds(expression: Expression, item: Item, beside: AbstractSet[int] = frozenset()) -> bool:
    """Tell whether a condition holds where an attribute would stand.

    Attributes are looked for in the item, then in those around it, and, within functional groups,
    in the other groups of the same frame. What is said to be absent is looked for in the item only.

    Args:
        expression: the condition.
        item: where the attribute would stand.
        beside: attributes that stand in that item, if anywhere.
    """
    sign = expression[0]
    if sign in _JOINED:
        return _JOINED[sign](holds(one, item, beside) for one in expression[1:])
    if sign == "not":
        return not holds(expression[1], item, beside)
    tag = expression[1]
    if sign == "-":
        return not item.has(tag)
    where = (item if item.has(tag) else None) if tag in beside else _holder(tag, item)
    return where is not None and _is_so(expression, where)


def _is_so(expression: Expression, where: Item) -> bool:
    """Tell whether a condition of an attribute holds where the attribute stands."""
    sign, tag = expression[:2]
    match sign:
        case "+":
            return True
        case "++":
            return where.has_value(tag)
        case "!0":
            return any(where.numbers(tag))
    return _compared(sign, where.values(tag), expression[2], expression[3])


def _compared(sign: str, values: Sequence[Any], place: int, wanted: Sequence[Any]) -> bool:
    if place < 0:
        return any(_compared(sign, [value], 0, wanted) for value in values)
    if len(values) <= place:
        return False
    value, texts = str(values[place]), [str(one) for one in wanted]
    if sign == "=":
        return value in texts
    if sign == "!=":
        return bool(value) and value not in texts
    try:
        number, bound = float(value), float(texts[0])
    except ValueError:
        return False
    return number > bound if sign == ">" else number < bound


def _holder(tag: int, item: Item) -> Item | None:
    """Return the item that has an attribute: this one, one around it, or a group of its frame."""
    here: Item | None = item
    below = item
    while here is not None:
        if here.has(tag):
            return here
        if here.has(_SHARED) or here.has(_PER_FRAME):
            return _in_groups(tag, here, below)
        below, here = here, here.around
    return None


def _in_groups(tag: int, root: Item, frame: Item) -> Item | None:
    groups = [frame, *root.items(_SHARED)]
    if frame is root:
        groups += root.items(_PER_FRAME)[:1]
    for group in groups:
        for element in group.elements.values():
            for one in (element.items or [])[:1]:
                if one.has(tag):
                    return one
    return None
