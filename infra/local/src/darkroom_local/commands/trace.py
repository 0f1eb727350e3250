"""`darkroom trace`: shows the way of one image or request through all services."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from darkroom_common.telemetry.traces import STUDY
from darkroom_local.stack.layout import Layout, default_data

LISTED: Final = 20
_MILLI: Final = 1000.0
_DATA: Final = default_data()
_WIDE: Final = 1000
"""Columns of what is read by a program: nothing is cut off."""


@dataclass
class Shown:
    """One span, with those that it has led to."""

    line: dict[str, Any]
    below: list["Shown"] = field(default_factory=list)


def spans(directory: Path) -> Iterator[dict[str, Any]]:
    """Yield the spans of all services; a line that is being written is left out."""
    for path in sorted(directory.glob("*.jsonl")):
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                yield json.loads(text)
            except ValueError:
                continue


def roots_of(trace: str, found: Iterator[dict[str, Any]]) -> list[Shown]:
    """Return the spans of a trace, and of work that it is a part of, as trees by time."""
    of_it = [one for one in found if one["trace"] == trace or trace in one["links"]]
    shown = {one["span"]: Shown(one) for one in sorted(of_it, key=lambda one: one["began"])}
    roots: list[Shown] = []
    for one in shown.values():
        above = shown.get(one.line["parent"])
        (roots if above is None else above.below).append(one)
    return roots


def _words(one: Shown, trace: str, began: float) -> str:
    line = one.line
    after = (line["began"] - began) * _MILLI
    text = f"{line['service']}: {line['name']}  +{after:.1f} ms, {line['seconds'] * _MILLI:.1f} ms"
    told = "".join(f"  {name}={value}" for name, value in line["attributes"].items())
    other = "" if line["trace"] == trace else "  (of several traces)"
    failed = f"  failed: {line['error']}" if line["error"] else ""
    return escape(f"{text}{told}{other}{failed}")


def _grow(tree: Tree, one: Shown, trace: str, began: float) -> None:
    branch = tree.add(_words(one, trace, began))
    for below in one.below:
        _grow(branch, below, trace, began)


@dataclass(frozen=True)
class Kind:
    """Traces of one study that follow one another and begin alike.

    Attributes:
        name: service and name of what they begin with.
        roots: the first span of each, the oldest first.
        steps: how many spans of which name they have led to, in the order of their beginning.
    """

    name: str
    roots: Sequence[dict[str, Any]]
    steps: Mapping[str, int]


def of_study(study: str, found: Sequence[dict[str, Any]]) -> list[Kind]:
    """Return what was done about a study, the oldest first; what is alike together."""
    about = {one["trace"] for one in found if study in one["attributes"].get(STUDY, ())}
    inside: dict[str, list[dict[str, Any]]] = {trace: [] for trace in about}
    for one in sorted(found, key=lambda one: one["began"]):
        for trace in {one["trace"], *one["links"]} & about:
            inside[trace].append(one)
    ways = sorted(inside.values(), key=lambda way: way[0]["began"])
    return [_kind(list(alike)) for _, alike in groupby(ways, key=lambda way: _name(way[0]))]


def _kind(ways: Sequence[list[dict[str, Any]]]) -> Kind:
    steps = {one["span"]: _name(one) for way in ways for one in way[1:]}
    return Kind(_name(ways[0][0]), [way[0] for way in ways], Counter(steps.values()))


def _name(line: dict[str, Any]) -> str:
    return f"{line['service']}: {line['name']}"


def _show_study(study: str, found: Sequence[dict[str, Any]], console: Console) -> None:
    kinds = of_study(study, found)
    if not kinds:
        console.print(f"No trace is about study {study}", markup=False)
        raise typer.Exit(1)
    tree = Tree(f"study {study}")
    for kind in kinds:
        first, last = kind.roots[0], kind.roots[-1]
        at = dt.datetime.fromtimestamp(first["began"], dt.UTC)
        text = f"{at:%Y-%m-%d %H:%M:%S}  {kind.name}"
        if len(kind.roots) > 1:
            text += f"  {len(kind.roots)} times in {last['began'] - first['began']:.1f} s"
        failed = sum(bool(root["error"]) for root in kind.roots)
        text += f"  {failed} failed" if failed else ""
        branch = tree.add(escape(f"{text}  trace {first['trace']}"))
        for name, count in kind.steps.items():
            branch.add(escape(name if count == 1 else f"{name}  {count} times"))
    console.print(tree)


def trace(
    trace_id: Annotated[
        str, typer.Argument(help="As `trace_id` of a line of the log; without it: the last ones.")
    ] = "",
    study: Annotated[
        str, typer.Option("--study", help="A Study Instance UID: all that was done about it.")
    ] = "",
    data: Annotated[
        Path, typer.Option("--data", envvar="DARKROOM_DATA", help="Where everything is kept.")
    ] = _DATA,
) -> None:
    """Show one trace: what each service did for an image or a request, when, and for how long.

    With `--study`: all traces of a study, from its order to its films.
    """
    directory, console = Layout(data.expanduser().resolve()).traces, Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDE
    if study:
        _show_study(study, list(spans(directory)), console)
        return
    if not trace_id:
        first = [one for one in spans(directory) if not one["parent"]]
        for one in sorted(first, key=lambda one: one["began"])[-LISTED:]:
            at = dt.datetime.fromtimestamp(one["began"], dt.UTC)
            console.print(
                escape(f"{one['trace']}  {at:%Y-%m-%d %H:%M:%S}  {one['service']}: {one['name']}")
            )
        return
    roots = roots_of(trace_id.lower(), spans(directory))
    if not roots:
        console.print(f"There is no trace {trace_id} in {directory}", markup=False)
        raise typer.Exit(1)
    began = roots[0].line["began"]
    tree = Tree(f"trace {trace_id.lower()}")
    for root in roots:
        _grow(tree, root, trace_id.lower(), began)
    console.print(tree)
