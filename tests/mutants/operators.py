"""What a mutant is: a module with one safeguard changed, found in its syntax or in its SQL.

A mutant is named by its content (file, function, text before and after), never by a line, so that
the same ones are drawn as long as the code they change is the same.
"""

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

Edit = tuple[int, int, str]
"""From byte, to byte, text instead."""
COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
SWAPPED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
TOLD: Final = re.compile(
    r"(await )?(_?log\b|metrics\.|traces\.|span\.|self\._log\b|gc\.|[A-Z_]+\.(labels|inc))"
)
"""Calls that tell of what was done: taking them out breaks no promise of this table."""
SQL: Final = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|WHERE|VALUES|RETURNING|FROM)\b")
CLAUSES: Final = (
    (re.compile(r"\s+FOR (NO KEY )?UPDATE( OF \w+)?( SKIP LOCKED)?"), ""),
    (re.compile(r"\s+FOR SHARE"), ""),
    (re.compile(r"\s+SKIP LOCKED"), ""),
    (re.compile(r"\s+ON CONFLICT (\([^)]*\) )?DO NOTHING"), ""),
    (
        re.compile(
            r"\s+AND (?!.*BETWEEN)[^()'\"\n]+?(?=\s+(AND|OR|ORDER|LIMIT|FOR|RETURNING)\b|\"|\n|$)"
        ),
        "",
    ),
    (re.compile(r" OR "), " AND "),
    (re.compile(r"(?<=\w) DESC\b"), ""),
    (re.compile(r"\bmin\("), "max("),
    (re.compile(r"\bmax\("), "min("),
    (re.compile(r" <= "), " < "),
    (re.compile(r" < "), " >= "),
    (re.compile(r" > "), " <= "),
    (re.compile(r" <> "), " = "),
    (re.compile(r"\bNOT EXISTS\b"), "EXISTS"),
    (re.compile(r"\bIS NOT NULL\b"), "IS NULL"),
    (re.compile(r" \+ 1\b"), ""),
    (re.compile(r"\bgreatest\("), "least("),
)
SMALL: Final = 100


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    path: str
    function: str
    line: int
    kind: str
    before: str
    after: str
    start: int
    end: int
    ordinal: int = 0

    @property
    def id(self) -> str:
        """Ten digits made of its content."""
        parts = (self.path, self.function, self.kind, self.before, self.after, str(self.ordinal))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]

    def applied(self, source: bytes) -> bytes:
        """Return the file with the change."""
        return source[: self.start] + self.after.encode() + source[self.end :]

    def __str__(self) -> str:
        before, after = (" ".join(text.split())[:90] for text in (self.before, self.after))
        return f"{self.path}:{self.line} {self.function}: {self.kind}: {before} -> {after}"


def mutants(path: str, source: bytes) -> list[Mutant]:
    """Every mutant of a file, in an order that is made of their content."""
    found = _Finder(path, source).found()
    seen: Counter[str] = Counter()
    named = []
    for one in found:
        seen[one.id] += 1
        ordinal = seen[one.id] - 1
        named.append(Mutant(**{**vars(one), "ordinal": ordinal}))
    return sorted(named, key=lambda one: one.id)


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self._path, self._source = path, source
        self._tree = ast.parse(source)
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def found(self) -> list[Mutant]:
        return sorted(set(self._within(self._tree, "module")), key=lambda one: (one.start, one.end))

    def _within(self, node: ast.AST, function: str) -> Iterator[Mutant]:
        for child in ast.iter_child_nodes(node):
            if child in getattr(node, "decorator_list", ()):
                continue  # `frozen=True` holds nothing that a test could see
            name = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = child.name if function == "module" else f"{function}.{child.name}"
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue  # a docstring, or `...`
            if isinstance(child, ast.stmt | ast.expr):
                for kind, (start, end, text) in self._of(child):
                    before = self._source[start:end].decode()
                    yield Mutant(self._path, name, child.lineno, kind, before, text, start, end)
            for field in ("body", "orelse", "finalbody"):
                statements = getattr(child, field, None)
                if isinstance(statements, list):
                    yield from self._swaps(statements, name)
            if not isinstance(child, ast.JoinedStr):  # what is in it has no place of its own
                yield from self._within(child, name)

    def _span(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _put(self, node: ast.stmt | ast.expr, text: str) -> Edit:
        return (*self._span(node), text)

    def _text(self, node: ast.stmt | ast.expr) -> str:
        start, end = self._span(node)
        return self._source[start:end].decode()

    def _of(self, node: ast.stmt | ast.expr) -> Iterator[tuple[str, Edit]]:
        if isinstance(node, ast.stmt):
            yield from self._of_statement(node)
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            yield from self._of_constant(node)
        else:
            yield from self._of_expression(node)

    def _of_statement(self, node: ast.stmt) -> Iterator[tuple[str, Edit]]:
        match node:
            case ast.If(body=[*_, ast.Raise() | ast.Return() | ast.Continue()], orelse=[]):
                yield "guard taken out", self._put(node, "pass")
            case ast.Expr(value=ast.Call() | ast.Await()) if not TOLD.match(self._text(node)):
                yield "call dropped", self._put(node, "pass")
            case ast.Raise(exc=None):
                yield "raise dropped", self._put(node, "pass")
            case ast.Return(value=ast.Name() | ast.Attribute() | ast.Call() | ast.Await() as value):
                yield "nothing returned", self._put(value, "None")
        if isinstance(node, ast.If):
            yield "condition negated", self._put(node.test, f"(not ({self._text(node.test)}))")

    def _of_expression(self, node: ast.expr) -> Iterator[tuple[str, Edit]]:
        match node:
            case ast.IfExp(test=test):
                yield "condition negated", self._put(test, f"(not ({self._text(test)}))")
            case ast.Compare(ops=[one], left=left, comparators=[right]):
                text = f"({self._text(left)} {COMPARISONS[type(one)]} {self._text(right)})"
                yield "comparison", self._put(node, text)
            case ast.BoolOp(op=joined, values=values):
                word = " or " if isinstance(joined, ast.And) else " and "
                text = word.join(f"({self._text(value)})" for value in values)
                yield "and, or", self._put(node, f"({text})")
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield "not dropped", self._put(node, f"({self._text(operand)})")
            case ast.BinOp(op=ast.Add() | ast.Sub() as sign, left=left, right=right):
                word = "-" if isinstance(sign, ast.Add) else "+"
                if not isinstance(left, ast.JoinedStr | ast.Constant | ast.List | ast.Tuple):
                    text = f"(({self._text(left)}) {word} ({self._text(right)}))"
                    yield "plus, minus", self._put(node, text)
            case ast.Call(func=ast.Name(id=name) as called) if name in SWAPPED:
                yield "least, most", self._put(called, SWAPPED[name])

    def _of_constant(self, node: ast.Constant | ast.JoinedStr) -> Iterator[tuple[str, Edit]]:
        match node:
            case ast.Constant(value=bool() as value):
                yield "constant", self._put(node, str(not value))
            case ast.Constant(value=int() as value) if value < SMALL:
                yield "constant", self._put(node, str(value + 1))
            case ast.Constant(value=str()) | ast.JoinedStr() if SQL.search(self._text(node)):
                for edit in self._clauses(node):
                    yield "SQL", edit

    def _clauses(self, node: ast.expr) -> Iterator[Edit]:
        start, _ = self._span(node)
        text = self._text(node)
        for pattern, instead in CLAUSES:
            for found in pattern.finditer(text):
                first = start + len(text[: found.start()].encode())
                yield first, first + len(found.group().encode()), instead

    def _swaps(self, statements: list[ast.stmt], name: str) -> Iterator[Mutant]:
        for first, second in pairwise(statements):
            texts = self._text(first), self._text(second)
            if not all(
                isinstance(one, ast.Expr) and isinstance(one.value, ast.Call | ast.Await)
                for one in (first, second)
            ) or any(TOLD.match(text) for text in texts):
                continue
            start, end = self._span(first)[0], self._span(second)[1]
            between = self._source[self._span(first)[1] : self._span(second)[0]].decode()
            before = self._source[start:end].decode()
            after = f"{texts[1]}{between}{texts[0]}"
            yield Mutant(self._path, name, first.lineno, "order", before, after, start, end)
