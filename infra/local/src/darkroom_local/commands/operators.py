"""What operators ask of a running stack: each word is a command of a service, run to its end here.

`darkroom WORD --help` says what it takes, also where nothing runs; its exit code is ours.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from darkroom_common.service import asks_how
from darkroom_local.engines.process import Command
from darkroom_local.stack.layout import Layout, default_data
from darkroom_local.stack.plan import Plan, environment
from darkroom_local.stack.state import StackState

DEFAULT: Final = default_data()
Data = Annotated[
    Path, typer.Option("--data", envvar="DARKROOM_DATA", help="Where everything is kept.")
]


def quarantine(context: typer.Context, data: Data = DEFAULT) -> None:
    """Objects that were refused: list, show, release, replay, discard, export.

    `darkroom quarantine --help` says how. It works whether Darkroom runs or not.
    """
    layout = Layout(data.expanduser().resolve())
    if not layout.spool.is_dir():
        typer.echo(f"darkroom: Darkroom has never run in {layout.data}", err=True)
        raise typer.Exit(2)
    _become(Plan.of_running(layout.data).quarantine(context.args))


def conflicts(context: typer.Context, data: Data = DEFAULT) -> None:
    """What disagrees with the index: list, show, fetch, promote, discard, keep, merge, move, split.

    `darkroom conflicts --help` says how. Darkroom must run.
    """
    _become(running(data).conflicts(context.args or ["--help"]))


def retention(context: typer.Context, data: Data = DEFAULT) -> None:
    """What may go by the rules, when and why: plan, tiers, run (--dry-run). Darkroom must run.

    `darkroom retention --help` says how. `plan` deletes nothing, `tiers` moves nothing.
    """
    _become(running(data).retention(context.args or ["--help"]))


def audit(context: typer.Context, data: Data = DEFAULT) -> None:
    """Who did what: summary (the last 7 days), list, export, verify.

    `darkroom audit --help` says how. Darkroom must run.
    """
    _become(running(data).audit(context.args))


def database(context: typer.Context, data: Data = DEFAULT) -> None:
    """What PostgreSQL is busy with: slow (statements), tables (sizes), connections (by state).

    `darkroom database --help` says how. Darkroom must run.
    """
    _become(running(data).database(context.args or ["--help"]))


def licence(context: typer.Context, data: Data = DEFAULT) -> None:
    """The licence: show (what is in force), check (ask now), install (a file). Darkroom must run.

    Without one this is the community edition. No licence ever stops images.
    """
    _become(running(data).licence(context.args or ["show"]))


def dead_letters(context: typer.Context, data: Data = DEFAULT) -> None:
    """Messages that a service could not work on: list, show, replay, discard.

    `darkroom dead-letters --help` says how. Darkroom must run.
    """
    _become(running(data).dead_letters(context.args or ["list"]))


def jobs(context: typer.Context, data: Data = DEFAULT) -> None:
    """What is being worked on: list (what has not ended), show. Darkroom must run.

    `darkroom jobs --help` says how.
    """
    _become(running(data).jobs(context.args or ["list"]))


def migrate(context: typer.Context, data: Data = DEFAULT) -> None:
    """Bring the studies of an earlier archive here: from a PACS, by DICOMweb, from files.

    `darkroom migrate --help` says how. Darkroom must run.
    """
    _become(running(data).migrating(context.args or ["list"]))


def events(context: typer.Context, data: Data = DEFAULT) -> None:
    """What has happened: the last events, or with --follow those that come. Darkroom must run.

    `darkroom events --help` says how.
    """
    _become(running(data).events(context.args))


def conformance(context: typer.Context, data: Data = DEFAULT) -> None:
    """The DICOM conformance statement of what runs: as Markdown, HTML, PDF, DICOM or JSON.

    `darkroom conformance --help` says how. Darkroom must run.
    """
    _become(running(data).conformance(context.args))


def sign_in_link(context: typer.Context, data: Data = DEFAULT) -> None:
    """Write an address that opens the console as admin (or --user NAME): once, for 15 minutes."""
    plan = running(data)
    state = StackState.read(plan.layout.data / "run" / "state.json")
    if state is not None:
        typer.echo(f"{state.base_url}/sign-in#once=", nl=False)
    _become(plan.sign_in_link(context.args))


def running(data: Path) -> Plan:
    """Return the plan of what runs in a directory, or say that nothing does."""
    layout = Layout(data.expanduser().resolve())
    if StackState.read(layout.data / "run" / "state.json") is None:
        message = f"darkroom: Darkroom does not run in {layout.data}: start it with darkroom up"
        typer.echo(message, err=True)
        raise typer.Exit(2)
    return Plan.of_running(layout.data)


def _become(command: Command) -> NoReturn:
    """Run a command on this terminal to its end; its exit code is ours."""
    _run(command.arguments, command.environment)


def tell_how(module: str, word: str, arguments: Sequence[str]) -> NoReturn:
    """Have a command of a service say how it is used: for that nothing has to run."""
    _run([sys.executable, "-m", module, word, *arguments], environment({}))


def _run(arguments: Sequence[str], given: Mapping[str, str]) -> NoReturn:
    try:
        ended = subprocess.run(arguments, env=dict(given), check=False)
    except KeyboardInterrupt:  # the child has heard it too
        raise typer.Exit(2) from None
    raise typer.Exit(ended.returncode)


_WORDS: Final[dict[str, tuple[Callable[..., Any], str, str]]] = {
    "quarantine": (quarantine, "darkroom_ingest", "quarantine"),
    "conflicts": (conflicts, "darkroom_metadata", "conflicts"),
    "retention": (retention, "darkroom_metadata", "retention"),
    "audit": (audit, "darkroom_api", "audit"),
    "database": (database, "darkroom_api", "database"),
    "licence": (licence, "darkroom_licensing", "licence"),
    "dead-letters": (dead_letters, "darkroom_api", "dead-letters"),
    "jobs": (jobs, "darkroom_api", "jobs"),
    "migrate": (migrate, "darkroom_transmit", "migration"),
    "events": (events, "darkroom_api", "events"),
    "conformance": (conformance, "darkroom_api", "conformance"),
    "sign-in-link": (sign_in_link, "darkroom_api", "sign-in-link"),
}
"""What a word does, and the command of a service that it is."""


def _told(work: Callable[..., Any], module: str, word: str) -> Callable[..., Any]:
    """Return a word that says how it is used when it is asked."""

    @wraps(work)
    def told(context: typer.Context, data: Data = DEFAULT) -> None:
        if asks_how(context.args):
            tell_how(module, word, context.args)
        work(context, data)

    return told


def add(app: typer.Typer) -> None:
    """Add the words."""
    for name, (work, module, word) in _WORDS.items():
        app.command(
            name=name,
            add_help_option=False,
            context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        )(_told(work, module, word))
