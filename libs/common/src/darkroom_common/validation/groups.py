"""Holds functional groups against the macros of their IOD (PS3.3 C.7.6.16)."""

from collections.abc import Sequence
from typing import Final

from darkroom_common.validation.conditions import holds
from darkroom_common.validation.content import Item
from darkroom_common.validation.findings import ROOT, At, Findings, Kind, Place
from darkroom_common.validation.modules import Modules
from darkroom_common.validation.table import GroupOf, Iod, Module, Table

SHARED: Final = 0x52009229
PER_FRAME: Final = 0x52009230
FRAMES: Final = 0x00280008
_DIMENSIONS: Final = 0x00209222
_FRAME_CONTENT: Final = 0x00209111
_INDICES: Final = 0x00209157
_SEGMENTS: Final = 0x00620002
_SEGMENT_NUMBER: Final = 0x00620004
_SEGMENT_OF_FRAME: Final = 0x0062000A
_REFERENCED_SEGMENT: Final = 0x0062000B
_IMAGE_TYPE: Final = 0x00080008
_TRANSFORMATION: Final = 0x00289145
_RESCALE_TYPE: Final = 0x00281054
_MODULE: Final = "Multi-frame Functional Groups"
_SECTION: Final = "PS3.3 C.7.6.16"
_KEY: Final = "-multi-frame-functional-groups"


class Groups:
    """Holds the functional groups of one object against its IOD."""

    def __init__(self, table: Table, findings: Findings, modules: Modules) -> None:
        self._table, self._findings, self._modules = table, findings, modules

    def check(self, iod: Iod, root: Item) -> None:
        """Hold them, if there are any."""
        if not (root.has(SHARED) or root.has(PER_FRAME)):
            return
        shared, frames = root.items(SHARED)[:1], root.items(PER_FRAME)
        said = root.number(FRAMES) if root.has_value(FRAMES) else 1
        if frames and said is not None and said != len(frames):
            text = "There are not as many per-frame groups as frames."
            self._add(Kind.CONSISTENCY, text, PER_FRAME)
        for group in iod.groups:
            self._macro(group, shared, frames)
        self._indices(root, frames)
        self._segments(root, [*shared, *frames])
        if iod.key == "enhanced-ct-image" and root.text_of(_IMAGE_TYPE) in ("ORIGINAL", "MIXED"):
            self._hounsfield([*shared, *frames])
        self._attributes(iod, root)

    def _macro(self, group: GroupOf, shared: Sequence[Item], frames: Sequence[Item]) -> None:
        for tag in group.sequences:
            in_shared = bool(shared and shared[0].has(tag))
            having = [frame for frame in frames if frame.has(tag)]
            if in_shared and having:
                text = f"The functional group {group.name} is shared and per frame."
                self._add(Kind.NOT_ALLOWED, text, tag, group)
            elif not in_shared and having and len(having) < len(frames):
                text = f"The functional group {group.name} is there for some of the frames only."
                self._add(Kind.MISSING, text, tag, group)
            elif not (in_shared or having) and self._is_due(group, shared, frames):
                text = f"The functional group {group.name} is missing."
                self._add(Kind.MISSING, text, tag, group)

    @staticmethod
    def _is_due(group: GroupOf, shared: Sequence[Item], frames: Sequence[Item]) -> bool:
        if group.usage == "M":
            return True
        condition = group.condition
        if group.usage != "C" or condition is None or condition.kind == "NU":
            return False
        return any(holds(condition.when, frame) for frame in (*frames[:1], *shared))

    def _indices(self, root: Item, frames: Sequence[Item]) -> None:
        """PS3.3 C.7.6.17: each frame has a value for each dimension."""
        dimensions = len(root.items(_DIMENSIONS))
        for frame in frames:
            for content in frame.items(_FRAME_CONTENT):
                if content.has(_INDICES) and len(content.values(_INDICES)) != dimensions:
                    text = "A frame has not as many indices as there are dimensions."
                    self._add(Kind.CONSISTENCY, text, _INDICES)

    def _segments(self, root: Item, groups: Sequence[Item]) -> None:
        """PS3.3 C.8.20.3: a frame is of a segment that is described."""
        known = {item.number(_SEGMENT_NUMBER) for item in root.items(_SEGMENTS)}
        for group in groups:
            for item in group.items(_SEGMENT_OF_FRAME):
                if item.has_value(_REFERENCED_SEGMENT) and (
                    item.number(_REFERENCED_SEGMENT) not in known
                ):
                    text = "A frame is of a segment that is not there."
                    self._add(Kind.CONSISTENCY, text, _REFERENCED_SEGMENT)

    def _hounsfield(self, groups: Sequence[Item]) -> None:
        """PS3.3 C.8.15.3.10: values of images that are no derived ones are in Hounsfield units."""
        for group in groups:
            for item in group.items(_TRANSFORMATION):
                if item.text_of(_RESCALE_TYPE) != "HU":
                    text = "A value is none of the enumerated ones."
                    self._add(Kind.VALUE, text, _RESCALE_TYPE)

    def _attributes(self, iod: Iod, root: Item) -> None:
        for one in iod.modules:
            if not one.key.endswith(_KEY):
                continue
            module = self._table.module(one.key)
            if module is None:
                continue
            for attribute in self._table.attributes(module.attributes):
                for number, item in enumerate(root.items(attribute.tag), 1):
                    place = ROOT.within(attribute.tag, number)
                    self._item(module, attribute.attributes, item, place)

    def _item(self, module: Module, attributes: int, item: Item, place: Place) -> None:
        for attribute in self._table.attributes(attributes):
            if item.has(attribute.tag):
                self._modules.present(module, attribute, item, place)

    def _add(self, kind: Kind, text: str, tag: int, group: GroupOf | None = None) -> None:
        name, section = (_MODULE, _SECTION) if group is None else (group.name, group.section)
        self._findings.add(kind, text, At(tag, section, name))
