"""What readers or writers of a stored JSON schema would stumble over in a later one.

Whatever is nested is compared as well: through `$ref`, `allOf`, `anyOf`, `oneOf`, `items` and
`additionalProperties`. A reader must understand an older writer and an older reader a newer
writer, so that words and limits stay; only a spec (see `specs/base.py`) may take more later, since
whoever reads one puts what it does not know aside.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

JsonSchema = dict[str, Any]
GROWS: Final = "x-grows"
"""Marks an object whose words and limits may grow."""
_ROOT: Final = "body"
_TEXT: Final = frozenset({"title", "description", "default", "examples", GROWS})
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_WORDS: Final = ("enum", "const")
_NESTED: Final = ("properties", "required", "items", "prefixItems", "additionalProperties")
_CHOICES: Final = ("anyOf", "oneOf", "discriminator")
_ANYTHING: Final[tuple[Any, ...]] = ({}, True)
_COMPARED: Final = frozenset({*_LOWER, *_UPPER, *_WORDS, *_NESTED, *_CHOICES, "type"})


def breaks(stored: JsonSchema, current: JsonSchema) -> list[str]:
    """Return what is wrong, each with the path of its field; nothing when all is well."""
    comparison = _Comparison(stored.get("$defs", {}), current.get("$defs", {}))
    return list(dict.fromkeys(comparison.any(stored, current, "", grows=False)))


class _Comparison:
    """Compares two documents with the definitions that each of them refers to."""

    def __init__(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        self._before = before
        self._after = after
        self._open: set[tuple[str, str]] = set()

    def any(self, before: Any, after: Any, path: str, *, grows: bool) -> Iterator[str]:
        """Compare two schemas, each of which may be a reference or a choice."""
        pair = _reference(before), _reference(after)
        if pair in self._open or (before in _ANYTHING and after in _ANYTHING):
            return  # a type that holds itself, or nothing that is said of either
        if all(pair):
            self._open.add(pair)
        old, new = _whole(before, self._before), _whole(after, self._after)
        grows = grows or bool(new.get(GROWS))
        olds, news = _choices(old), _choices(new)
        if len(olds) == len(news) == 1:
            yield from self._one(old, new, path, grows=grows)
        else:
            yield from self._choice(olds, news, path, grows=grows)
        self._open.discard(pair)

    def _choice(self, olds: list[Any], news: list[Any], path: str, *, grows: bool) -> Iterator[str]:
        left = list(news)
        for old in olds:
            found = self._fellow(old, left, path, grows=grows)
            if found is None:
                yield f"{_said(path)} no longer takes {_name(old)}"
                continue
            left.remove(found)
            yield from self.any(old, found, path, grows=grows)
        if not grows:
            for new in left:
                yield f"{_said(path)} takes {_name(new)}, which readers do not know"

    def _fellow(self, old: Any, left: list[Any], path: str, *, grows: bool) -> Any:
        """Return the choice that goes on with an old one: it takes as much, or has its name."""

        def rank(new: Any) -> tuple[bool, bool, bool]:
            broken = bool(list(self.any(old, new, path, grows=grows)))
            return broken and _name(new) != _name(old), new != old, broken

        best = min(left, key=rank, default=None)
        return None if best is None or rank(best)[0] else best

    def _one(self, old: JsonSchema, new: JsonSchema, path: str, *, grows: bool) -> Iterator[str]:
        if _type(old) != _type(new):
            yield f"{_said(path)} has another type"
            return
        yield from _words(old, new, path, grows=grows)
        yield from _limits(old, new, path, grows=grows)
        for key in sorted((old.keys() | new.keys()) - _COMPARED - _TEXT - {"$defs"}):
            if old.get(key) != new.get(key) and not (grows and key not in new):
                yield f"{_said(path)} has another {key}"
        yield from self._fields(old, new, path, grows=grows)
        yield from self._items(old, new, path, grows=grows)
        yield from self._others(old, new, path, grows=grows)

    def _fields(self, old: JsonSchema, new: JsonSchema, path: str, *, grows: bool) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, definition in before.items():
            inner = f"{path}.{name}" if path else name
            if name in after:
                yield from self.any(definition, after[name], inner, grows=grows)
            else:
                yield f"field {inner} is gone"
        was, now = set(old.get("required", [])), set(new.get("required", []))
        where = f"{path}." if path else ""
        yield from (f"field {where}{name} has become required" for name in sorted(now - was))
        for name in sorted((was - now) & after.keys()):
            yield f"field {where}{name} is no longer always there"

    def _items(self, old: JsonSchema, new: JsonSchema, path: str, *, grows: bool) -> Iterator[str]:
        yield from self.any(old.get("items", {}), new.get("items", {}), f"{path}[]", grows=grows)
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(before) != len(after):
            yield f"{_said(path)} has another number of entries"
        for number, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from self.any(one, other, f"{path}[{number}]", grows=grows)

    def _others(self, old: JsonSchema, new: JsonSchema, path: str, *, grows: bool) -> Iterator[str]:
        """Compare what else an object may hold."""
        before, after = old.get("additionalProperties", {}), new.get("additionalProperties", {})
        if before is False:
            return  # whoever writes writes none; readers ignore what they do not know
        if after is False:
            yield f"{_said(path)} takes no other fields any more"
        else:
            yield from self.any(before, after, f"{path}.*" if path else "*", grows=grows)


def _reference(schema: Any) -> str:
    return str(schema.get("$ref", "")) if isinstance(schema, dict) else ""


def _whole(schema: Any, definitions: Mapping[str, Any]) -> JsonSchema:
    """Return a schema with what it refers to, and all that must hold at once, in one object."""
    if not isinstance(schema, dict):
        return {} if schema else {"not": {}}
    parts = [_whole(part, definitions) for part in schema.get("allOf", [])]
    if "$ref" in schema:
        parts.append(_whole(definitions[_name(schema)], definitions))
    parts.append({key: value for key, value in schema.items() if key not in ("$ref", "allOf")})
    whole: JsonSchema = {}
    for part in parts:
        properties = {**whole.get("properties", {}), **part.get("properties", {})}
        required = [*whole.get("required", []), *part.get("required", [])]
        whole |= part
        whole |= {"properties": properties} if properties else {}
        whole |= {"required": required} if required else {}
    return whole


def _choices(schema: JsonSchema) -> list[Any]:
    choices: list[Any] = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return choices


def _name(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "anything"
    reference = _reference(schema).rpartition("/")[2]
    return reference or str(schema.get("const", schema.get("type", "anything")))


def _said(path: str) -> str:
    return f"field {path}" if path else _ROOT


def _type(schema: JsonSchema) -> Any:
    if "type" in schema or "properties" not in schema:
        return schema.get("type")
    return "object"


def _words(old: JsonSchema, new: JsonSchema, path: str, *, grows: bool) -> Iterator[str]:
    """Compare the words that a field may be; one word is `const`."""
    before, after = _listed(old), _listed(new)
    if before is None or after is None:
        if after is not None:
            yield f"field {path} takes only {', '.join(map(str, after))}"
        elif before is not None and not grows:
            yield f"field {path} takes any word, which readers do not know"
        return
    for word in before:
        if word not in after:
            yield f"field {path} no longer takes {word}"
    if not grows:
        for word in after:
            if word not in before:
                yield f"field {path} takes {word}, which readers do not know"


def _listed(schema: JsonSchema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    listed: list[Any] | None = schema.get("enum")
    return listed


def _limits(old: JsonSchema, new: JsonSchema, path: str, *, grows: bool) -> Iterator[str]:
    for keys, sign in ((_LOWER, 1), (_UPPER, -1)):
        for key in keys:
            before, after = old.get(key), new.get(key)
            if before == after:
                continue
            tighter = after is not None and (before is None or (after - before) * sign > 0)
            if tighter:
                yield f"field {path} has a tighter {key}"
            elif not grows:
                yield f"field {path} has a looser {key}"
