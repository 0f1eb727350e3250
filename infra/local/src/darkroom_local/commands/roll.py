"""`darkroom roll`: has the running stack replace its processes, and shows how far it is."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import typer

from darkroom_local.commands.operators import running
from darkroom_local.stack.layout import SERVICES, Layout
from darkroom_local.stack.rolling import Wish, short_name

FAILED: Final = 2


def run(services: Sequence[str], data: Path, wish: Wish, *, as_json: bool) -> None:
    """Have the stack of a data directory do it; exit with 2 if it is not done."""
    running(data)
    unknown = sorted({*services} - {*SERVICES})
    if unknown:
        typer.echo(f"darkroom: no service is called {', '.join(unknown)}", err=True)
        raise typer.Exit(FAILED)
    if wish.back and wish.python is not None:
        typer.echo("darkroom: --back and --python exclude each other", err=True)
        raise typer.Exit(FAILED)
    socket = Layout(data.expanduser().resolve()).control
    if not asyncio.run(_show(socket, replace(wish, services=tuple(services)), as_json=as_json)):
        raise typer.Exit(FAILED)


async def _show(path: Path, wish: Wish, *, as_json: bool) -> bool:
    """Show what the stack says; return whether it was done."""
    done = False
    async for line in ask(path, wish):
        if as_json:
            typer.echo(json.dumps(line))
        elif "failed" in line:
            typer.echo(f"darkroom: {line['failed']}", err=True)
        else:
            typer.echo(line["text"])
        done = "done" in line
    return done


async def ask(path: Path, wish: Wish) -> AsyncIterator[dict[str, Any]]:
    """Ask the running stack, and yield what it says."""
    try:
        with short_name(path) as name:
            reader, writer = await asyncio.open_unix_connection(name)
    except OSError:
        yield {"failed": "the running darkroom up is of a release that cannot do it: restart it"}
        return
    try:
        writer.write(json.dumps(asdict(wish)).encode() + b"\n")
        await writer.drain()
        while line := await reader.readline():
            yield json.loads(line)
    finally:
        writer.close()
