"""`darkroom trace`: shows the way of one image or request through all services."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from darkroom_local.stack.layout import Layout, default_data

LISTED: Final = 20
_MILLI: Final = 1000.0
_DATA: Final = default_data()


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


def trace(
    trace_id: Annotated[
        str, typer.Argument(help="As `trace_id` of a line of the log; without it: the last ones.")
    ] = "",
    data: Annotated[
        Path, typer.Option("--data", envvar="DARKROOM_DATA", help="Where everything is kept.")
    ] = _DATA,
) -> None:
    """Show one trace: what each service did for an image or a request, when, and for how long."""
    directory, console = Layout(data.expanduser().resolve()).traces, Console(soft_wrap=True)
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
