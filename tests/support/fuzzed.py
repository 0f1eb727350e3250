"""Requests that nobody means well with, made from an OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

NASTY: Final = (
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\udfff\\ud800"',
    "1" + "0" * 30,
    "-1" + "0" * 30,
    "9" * 5000,
    "9223372036854775808",
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "-Infinity",
    "0.1e-400",
    "null",
    "true",
    "[]",
    "{}",
    '""',
    '"' + "x" * 20_000 + '"',
    "[" * 70 + "]" * 70,
    '{"a": ' * 30 + "1" + "}" * 30,
    '{"a": 1, "a": 2}',
    '["\\u0000"]',
    '{"\\u0000": 1}',
    '"\\u202e\\u0007"',
)
"""JSON, or what some take for JSON, in the place of one value."""
WHOLE: Final = (
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"a": 1',
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b"9" * 60_000,
    "{}".encode("utf-16"),
    b"\x00",
)
"""In the place of a body."""
TEXTS: Final = (
    "\0",
    "a\0b",
    "\ud800",
    "\x07\x1b[31m",
    "../../etc",
    "%",
    "*" * 500,
    "9" * 400,
    "-1",
    "1e400",
    "NaN",
    "ä" * 300,
    "=" * 200,
    "\\" * 200,
    "' OR 1=1 --",
    "",
)
"""In the place of a parameter of the path, of the query or of a header."""
_MARK: Final = "@@here@@"


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def example(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """Return a small value that a schema may well accept."""
    schema = resolved(schema, document)
    for name in ("const", "default"):
        if schema.get(name) is not None:
            return schema[name]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        needed, found = schema.get("required", ()), schema.get("properties", {})
        return {name: example(found[name], document) for name in needed}
    if kind == "array":
        return [example(schema.get("items", {}), document)]
    text = "1.2.3" if "uid" in str(schema.get("title", "")).lower() else "A1"
    number = max(1, int(schema.get("minimum", 1)))
    return {"integer": number, "number": number, "boolean": True}.get(str(kind), text)


def resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema behind its references, and the first of its choices."""
    while True:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = document["components"]["schemas"][name]
        elif "anyOf" in schema or "allOf" in schema:
            schema = (schema.get("anyOf") or schema["allOf"])[0]
        else:
            return schema


def bodies(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield bodies with something nasty in each field of two levels, and in place of all."""
    base = example(schema, document)
    whole = resolved(schema, document)
    for name, inner in whole.get("properties", {}).items():
        places = [{**base, name: _MARK}]
        deep = resolved(inner, document)
        deep = resolved(deep["items"], document) if deep.get("type") == "array" else deep
        for within in deep.get("properties", {}):
            value: Any = {**example(deep, document), within: _MARK}
            is_list = resolved(inner, document).get("type") == "array"
            places.append({**base, name: [value] if is_list else value})
        for place in places:
            for nasty in NASTY:
                yield json.dumps(place).replace(f'"{_MARK}"', nasty).encode()
    yield from WHOLE


def requests(document: Mapping[str, Any]) -> Iterator[Asked]:
    """Yield nasty requests for every operation."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _of_operation(path, method.upper(), operation, document)


def _of_operation(
    path: str, method: str, operation: Mapping[str, Any], document: Mapping[str, Any]
) -> Iterator[Asked]:
    parameters = operation.get("parameters", [])
    usual = {one["name"]: "a" * 32 for one in parameters if one["in"] == "path"}
    plain = _filled(path, usual)
    for one in parameters:
        for text in TEXTS:
            match one["in"]:
                case "path":
                    yield Asked(method, _filled(path, {**usual, one["name"]: text}), b"{}")
                case "query":
                    query = urlencode({one["name"]: text.encode("utf-8", "surrogatepass")})
                    yield Asked(method, f"{plain}?{query}", b"{}")
                case "header" if text.isprintable() and text.isascii():
                    yield Asked(method, plain, b"{}", {one["name"]: text})
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if schema is not None:
        for body in bodies(schema, document):
            yield Asked(method, plain, body)
    else:
        for name in ("limit", "offset", "PatientName", "cursor", "includefield", "00100010"):
            for text in TEXTS:
                query = urlencode({name: text.encode("utf-8", "surrogatepass")})
                yield Asked(method, f"{plain}?{query}")


def _filled(path: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        raw = quote(value.encode("utf-8", "surrogatepass"), safe="")
        path = path.replace(f"{{{name}}}", raw or "%20")
    return path
