"""The command `darkroom`: all of Darkroom on one machine."""

import asyncio
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from darkroom_local.commands import demo as demonstration
from darkroom_local.commands import doctor as examination
from darkroom_local.commands import reindex as reindexing
from darkroom_local.commands import senders
from darkroom_local.commands import verify as verification
from darkroom_local.commands.status import show
from darkroom_local.commands.trace import trace
from darkroom_local.commands.validate import validate
from darkroom_local.engines.lock import AlreadyRunningError, DirectoryLock
from darkroom_local.engines.ports import LOOPBACK, NoFreePortError
from darkroom_local.engines.process import Command, StartError, make_reachable
from darkroom_local.stack.keyring import KeysLostError
from darkroom_local.stack.layout import (
    COMMITMENT_PORT,
    Layout,
    SettingError,
    Settings,
    default_data,
)
from darkroom_local.stack.plan import Plan
from darkroom_local.stack.stack import PortBusyError, Stack
from darkroom_local.stack.state import StackState
from darkroom_local.stack.view import SteadyConsole

app = typer.Typer(
    help="Darkroom on one machine.", no_args_is_help=True, pretty_exceptions_enable=False
)

_DATA = default_data()
Data = Annotated[
    Path, typer.Option("--data", envvar="DARKROOM_DATA", help="Where everything is kept.")
]
DicomPort = Annotated[
    int,
    typer.Option(
        "--dicom-port",
        envvar="DARKROOM_DICOM_PORT",
        min=1,
        max=65535,
        help="The port that modalities send to.",
    ),
]
HttpPort = Annotated[
    int,
    typer.Option(
        "--http-port",
        envvar="DARKROOM_HTTP_PORT",
        min=1,
        max=65535,
        help="The port of REST, DICOMweb and the console.",
    ),
]
Listen = Annotated[
    str,
    typer.Option(
        "--listen",
        envvar="DARKROOM_HTTP_HOST",
        help="The address that REST and DICOMweb listen on, without TLS; 0.0.0.0: all of them.",
    ),
]
CommitmentPort = Annotated[
    int | None,
    typer.Option(
        "--commitment-port",
        envvar="DARKROOM_COMMITMENT_PORT",
        min=0,
        max=65535,
        help="The port that destinations report storage commitment to; 0: none. Without it: "
        f"{COMMITMENT_PORT}, or another when that is in use.",
    ),
]
AeTitle = Annotated[
    str, typer.Option("--ae-title", envvar="DARKROOM_AE_TITLE", help="Our application entity.")
]

# What an operator can do something about: the text is enough, a traceback would hide it.
_EXPECTED = (
    AlreadyRunningError,
    KeysLostError,
    NoFreePortError,
    PortBusyError,
    PermissionError,
    SettingError,
    StartError,
    demonstration.DemoError,
    senders.SendersError,
    reindexing.ReindexError,
    verification.VerifyError,
)


@app.command()
def up(
    data: Data = _DATA,
    dicom_port: DicomPort = 11112,
    http_port: HttpPort = 8080,
    commitment_port: CommitmentPort = None,
    ae_title: AeTitle = "DARKROOM",
    listen: Listen = LOOPBACK,
) -> None:
    """Start everything and stay; Ctrl-C stops all of it.

    With DARKROOM_POSTGRES_URL or DARKROOM_AMQP_URL (or ..._FILE) set, these are used instead of a
    private PostgreSQL or RabbitMQ. Every other DARKROOM_ setting is handed on to the services.
    """

    async def run() -> None:
        settings = Settings.load(data, dicom_port, http_port, commitment_port, ae_title)
        settings = replace(settings, http_host=listen)
        make_reachable(settings.data)
        with DirectoryLock(settings.data):
            await Stack(settings, SteadyConsole()).run()

    _expecting_trouble(run)


@app.command()
def status(data: Data = _DATA) -> None:
    """Say how each process of the running stack is; exit 1 unless all are ready."""
    layout_state = data.expanduser().resolve() / "run" / "state.json"
    state = StackState.read(layout_state)
    if state is None:
        Console().print(f"Darkroom does not run in {data}: start it with darkroom up", markup=False)
        raise typer.Exit(1)
    if not asyncio.run(show(state, Console())):
        raise typer.Exit(1)


@app.command()
def doctor(
    data: Data = _DATA,
    dicom_port: DicomPort = 11112,
    http_port: HttpPort = 8080,
    commitment_port: CommitmentPort = None,
) -> None:
    """Say what this machine has and lacks, with the command that installs it; exit 1 if it does."""
    running = StackState.read(data.expanduser().resolve() / "run" / "state.json")
    findings = examination.examine(
        data.expanduser().resolve(),
        {"DICOM": dicom_port, "HTTP": http_port}
        | ({"Commitment": commitment_port} if commitment_port else {}),
        running_here=running is not None,
    )
    if not examination.show(findings, Console()):
        raise typer.Exit(1)


@app.command()
def demo(
    data: Data = _DATA,
    save: Annotated[
        Path | None, typer.Option(help="Also keep the files that are sent in this directory.")
    ] = None,
    slices: Annotated[int, typer.Option(min=1, max=500, help="Slices of each CT series.")] = 24,
) -> None:
    """Make sample studies of invented patients, send them, and show how to find and fetch them."""

    async def run() -> None:
        await demonstration.run(
            data.expanduser().resolve(), save=save, slices=slices, console=Console()
        )

    _expecting_trouble(run)


@app.command()
def verify(
    data: Data = _DATA,
    read_all: Annotated[
        bool, typer.Option("--all", help="Also read every object back and compare its SHA-256.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Also read back what was received since (ISO 8601)."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Have objects that no row names indexed.")
    ] = False,
    bytes_per_second: Annotated[
        int | None, typer.Option(min=0, help="Limit of reading back; 0 is no limit.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Compare index and objects, both ways; exit 0 when all is well, 1 with findings, else 2.

    An interrupted run goes on where it was when the same is asked for again.
    """
    arguments = [
        *(["--all"] if read_all else []),
        *(["--since", since] if since else []),
        *(["--repair"] if repair else []),
        *(["--bytes-per-second", str(bytes_per_second)] if bytes_per_second is not None else []),
    ]
    _to_its_end(verification.run, data, arguments, as_json=as_json)


@app.command()
def reindex(
    data: Data = _DATA,
    study: Annotated[str | None, typer.Option(metavar="UID", help="This study alone.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every study.")] = False,
    objects_per_second: Annotated[
        int | None, typer.Option(min=0, help="Limit of reading; 0 is no limit.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Read stored objects again and bring the index up to date; exit 1 when some are missing.

    Without options: the studies with objects that an earlier release has indexed in part. An
    interrupted run goes on where it was when the same is asked for again.
    """
    limit = [] if objects_per_second is None else ["--objects-per-second", str(objects_per_second)]
    arguments = [*(["--study", study] if study else []), *(["--all"] if every else []), *limit]
    _to_its_end(reindexing.run, data, arguments, as_json=as_json)


def _to_its_end(
    work: Callable[..., Coroutine[Any, Any, int]],
    data: Path,
    arguments: list[str],
    *,
    as_json: bool,
) -> None:
    """Run what an operator can interrupt and ask for again; its result is the exit code."""
    code, whole = 0, data.expanduser().resolve()

    async def run() -> None:
        nonlocal code
        console = SteadyConsole()
        code = await work(whole, arguments, as_json=as_json, console=console)

    try:
        _expecting_trouble(run, code=verification.COULD_NOT_RUN)
    except KeyboardInterrupt:
        typer.echo("darkroom: interrupted; ask for the same again to go on", err=True)
        code = verification.COULD_NOT_RUN
    if code:
        raise typer.Exit(code)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def ae(context: typer.Context, data: Data = _DATA) -> None:
    """Say who may send: ae list, add, set, remove; ae --help, ae add --help tell more."""

    async def run() -> None:
        await senders.run(data.expanduser().resolve(), context.args or ["--help"])

    _expecting_trouble(run, code=2)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def quarantine(context: typer.Context, data: Data = _DATA) -> None:
    """Objects that were refused: list, show, release, replay, discard, export.

    `darkroom quarantine --help` says how. It works whether Darkroom runs or not.
    """
    layout = Layout(data.expanduser().resolve())
    if not layout.spool.is_dir():
        typer.echo(f"darkroom: Darkroom has never run in {layout.data}", err=True)
        raise typer.Exit(2)
    _become(Plan.of_running(layout.data).quarantine(context.args))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def conflicts(context: typer.Context, data: Data = _DATA) -> None:
    """What disagrees with the index: list, show, fetch, promote, discard, keep, merge, move, split.

    `darkroom conflicts --help` says how. Darkroom must run.
    """
    _become(_running(data).conflicts(context.args or ["--help"]))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def audit(context: typer.Context, data: Data = _DATA) -> None:
    """Who did what: summary (the last 7 days), list, export, verify.

    `darkroom audit --help` says how. Darkroom must run.
    """
    _become(_running(data).audit(context.args))


app.command()(validate)
app.command()(trace)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def database(context: typer.Context, data: Data = _DATA) -> None:
    """What PostgreSQL is busy with: slow (statements), tables (sizes), connections (by state).

    `darkroom database --help` says how. Darkroom must run.
    """
    _become(_running(data).database(context.args or ["--help"]))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def licence(context: typer.Context, data: Data = _DATA) -> None:
    """The licence: show (what is in force), check (ask now), install (a file). Darkroom must run.

    Without one this is the community edition. No licence ever stops images.
    """
    _become(_running(data).licence(context.args or ["show"]))


def _running(data: Path) -> Plan:
    """Return the plan of what runs in a directory, or say that nothing does."""
    layout = Layout(data.expanduser().resolve())
    if StackState.read(layout.data / "run" / "state.json") is None:
        message = f"darkroom: Darkroom does not run in {layout.data}: start it with darkroom up"
        typer.echo(message, err=True)
        raise typer.Exit(2)
    return Plan.of_running(layout.data)


@app.command(
    name="dead-letters",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def dead_letters(context: typer.Context, data: Data = _DATA) -> None:
    """Messages that a service could not work on: list, show, replay, discard.

    `darkroom dead-letters --help` says how. Darkroom must run.
    """
    _become(_running(data).dead_letters(context.args or ["list"]))


def _become(command: Command) -> NoReturn:
    """Run a command on this terminal to its end; its exit code is ours."""
    try:
        ended = subprocess.run(command.arguments, env=dict(command.environment), check=False)
    except KeyboardInterrupt:  # the child has heard it too
        raise typer.Exit(2) from None
    raise typer.Exit(ended.returncode)


def _expecting_trouble(run: Callable[[], Coroutine[Any, Any, None]], *, code: int = 1) -> None:
    """Run to the end; an expected error becomes one message and an exit code."""
    failed: list[BaseException] = []
    try:
        asyncio.run(run())
    except* _EXPECTED as group:
        failed = list(_leaves(group))
    for error in failed:
        typer.echo(f"darkroom: {error}", err=True)
    if failed:
        raise typer.Exit(code)


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
