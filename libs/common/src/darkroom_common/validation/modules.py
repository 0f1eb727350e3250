"""Holds an object against the modules of its IOD, by the table (PS3.3, PS3.5 section 7.4)."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from darkroom_common.validation.conditions import holds
from darkroom_common.validation.content import Element, Item
from darkroom_common.validation.findings import ROOT, At, Findings, Kind, Place, Severity, named
from darkroom_common.validation.table import Attribute, Condition, Iod, Module, ModuleOf, Table

GROUPS: Final = frozenset({0x52009229, 0x52009230})
"""Shared and per-frame functional groups: their items are held against macros, see `groups`."""
DEEPEST: Final = 64


class Modules:
    """Holds one object against its IOD.

    Args:
        table: of modules.
        findings: gets what is wrong.
    """

    def __init__(self, table: Table, findings: Findings) -> None:
        self._table = table
        self._findings = findings
        self._only_optional = False
        self.checked: list[str] = []
        """Names of modules that were held against the object."""
        self.undecided: dict[str, None] = {}
        """Attributes that are not there, and of which it cannot be said whether they should be."""

    def check(self, iod: Iod, root: Item) -> None:
        """Hold a data set against each module that it needs, or has something of."""
        sure = self._tags_of(one for one in iod.modules if one.usage == "M")
        told = self._told(iod, root, sure)
        for one in iod.modules:
            module = self._table.module(one.key)
            if module is None:
                self.undecided[f"{one.key}: the table has no attributes of this module"] = None
            elif self._is_due(one, root, told):
                self.checked.append(module.name)
                self._only_optional = self._is_vague(one, module, root, sure)
                self.attributes(module, module.attributes, root, ROOT)
                self._only_optional = False

    def _tags_of(self, modules: Iterable[ModuleOf]) -> set[int]:
        found: set[int] = set()
        for one in modules:
            module = self._table.module(one.key)
            if module is not None:
                found |= {attribute.tag for attribute in self._table.attributes(module.attributes)}
        return found

    def _told(self, iod: Iod, root: Item, sure: set[int]) -> dict[str, frozenset[int]]:
        """Return what of a data set tells of each module that it need not have."""
        return {
            one.key: frozenset(
                tag for tag in self._tags_of([one]) if root.has(tag) and tag not in sure
            )
            for one in iod.modules
            if one.usage != "M"
        }

    @staticmethod
    def _is_due(one: ModuleOf, root: Item, told: dict[str, frozenset[int]]) -> bool:
        """Tell whether a module is meant, and not another that explains as much and more.

        So the value of a shutter tells of a Display Shutter when edges are there, and not of a
        Bitmap Display Shutter as well.
        """
        if one.usage == "M":
            return True
        condition = one.condition
        if condition is not None and condition.kind != "NU" and holds(condition.when, root):
            return True
        own = told[one.key]
        return bool(own) and not any(own < other for other in told.values())

    def _is_vague(self, one: ModuleOf, module: Module, root: Item, sure: set[int]) -> bool:
        """Tell whether nothing says that a module is meant but attributes that are optional."""
        if one.usage == "M" or (one.condition is not None and holds(one.condition.when, root)):
            return False
        return not any(
            root.has(found.tag) and found.kind != "3" and found.tag not in sure
            for found in self._table.attributes(module.attributes)
        )

    def attributes(self, module: Module, place_in_table: int, item: Item, place: Place) -> None:
        """Hold an item, or the data set, against a list of attributes of a module."""
        if len(place.steps) > DEEPEST:
            return
        beside = self._table.tags(place_in_table)
        for attribute in self._table.attributes(place_in_table):
            if item.has(attribute.tag):
                self.present(module, attribute, item, place, beside)
            else:
                self._absent(module, attribute, item, place, beside)

    def present(
        self,
        module: Module,
        attribute: Attribute,
        item: Item,
        place: Place,
        beside: AbstractSet[int] = frozenset(),
    ) -> None:
        """Hold an element that is there against its attribute, and so the items of a sequence."""
        element = item.elements[attribute.tag]
        if attribute.kind in ("1C", "2C") and _is_refused(attribute.condition, item, beside):
            text = f"An attribute of type {attribute.kind} is there against its condition."
            self._findings.add(Kind.NOT_ALLOWED, text, _at(module, attribute, place))
        self._present(module, attribute, element, item, place)
        if attribute.tag in GROUPS:
            return
        for number, below in enumerate(element.items or (), 1):
            inner = place.within(attribute.tag, number)
            self.attributes(module, attribute.attributes, below, inner)

    def _absent(
        self,
        module: Module,
        attribute: Attribute,
        item: Item,
        place: Place,
        beside: AbstractSet[int],
    ) -> None:
        kind, condition = attribute.kind, attribute.condition
        text = f"An attribute of type {kind} is missing."
        if kind in ("1", "2"):
            vague = self._only_optional and not place.steps
            severity = Severity.WARNING if vague else Severity.ERROR
            self._findings.add(Kind.MISSING, text, _at(module, attribute, place), severity)
        elif kind in ("1C", "2C") and condition is None:
            if not place.steps:
                self.undecided[f"{module.name}: whether {named(attribute.tag)} is needed"] = None
        elif condition is not None and condition.kind != "NU":
            if not holds(condition.when, item, beside):
                return
            if condition.doubtful is not None and holds(condition.doubtful, item, beside):
                text = f"An attribute of type {kind} is missing, if its condition is met."
                self._findings.add(
                    Kind.MISSING, text, _at(module, attribute, place), Severity.WARNING
                )
            else:
                self._findings.add(Kind.MISSING, text, _at(module, attribute, place))

    def _present(
        self, module: Module, attribute: Attribute, element: Element, item: Item, place: Place
    ) -> None:
        if element.is_empty:
            if attribute.kind in ("1", "1C"):
                text = f"An attribute of type {attribute.kind} has no value."
                self._findings.add(Kind.EMPTY, text, _at(module, attribute, place))
            elif element.items is not None and attribute.items[0] and attribute.kind == "3":
                self._findings.add(
                    Kind.ITEMS, "A sequence has no item.", _at(module, attribute, place)
                )
            return
        most = attribute.items[1]
        if 0 <= most < len(element.items or ()):
            text = "A sequence has more than one item."
            self._findings.add(Kind.ITEMS, text, _at(module, attribute, place))
        self._values(module, attribute, item, place)

    def _values(self, module: Module, attribute: Attribute, item: Item, place: Place) -> None:
        if not attribute.values:
            return
        values = item.values(attribute.tag)
        for one in attribute.values:
            chosen = values if not one.place else values[one.place - 1 : one.place]
            if all(value in one.values or value == "" for value in chosen):
                continue
            if one.enumerated:
                text = "A value is none of the enumerated ones."
                self._findings.add(Kind.VALUE, text, _at(module, attribute, place))
            else:
                text = "A value is none of the defined terms."
                self._findings.add(Kind.TERM, text, _at(module, attribute, place), Severity.WARNING)


def _at(module: Module, attribute: Attribute, place: Place) -> At:
    return At(attribute.tag, module.section, module.name, place)


def _is_refused(condition: Condition | None, item: Item, beside: AbstractSet[int]) -> bool:
    """Tell whether an attribute must not be there."""
    if condition is None or condition.kind == "MU":
        return False
    met = holds(condition.when, item, beside)
    if condition.kind == "NU":
        return met
    other = condition.other is not None and holds(condition.other, item, beside)
    return not met and not other
