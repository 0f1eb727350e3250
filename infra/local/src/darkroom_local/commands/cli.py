"""The command `darkroom`: all of Darkroom on one machine."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from darkroom_common.service import asks_how
from darkroom_local.commands import demo as demonstration
from darkroom_local.commands import doctor as examination
from darkroom_local.commands import operators, recovery, senders
from darkroom_local.commands import reindex as reindexing
from darkroom_local.commands import roll as rolling
from darkroom_local.commands import verify as verification
from darkroom_local.commands.operators import DEFAULT, Data, running
from darkroom_local.commands.status import show, show_queues, watch
from darkroom_local.commands.trace import trace
from darkroom_local.commands.validate import validate
from darkroom_local.engines.lock import AlreadyRunningError, DirectoryLock
from darkroom_local.engines.ports import LOOPBACK, NoFreePortError
from darkroom_local.engines.process import StartError, make_reachable
from darkroom_local.recovery.archive import RecoveryError
from darkroom_local.recovery.drill import Drill
from darkroom_local.recovery.fencing import may_start
from darkroom_local.stack.authority import Authority, names_of_here
from darkroom_local.stack.keyring import KeysLostError
from darkroom_local.stack.layout import COMMITMENT_PORT, Layout, LocalTls, SettingError, Settings
from darkroom_local.stack.rolling import Wish
from darkroom_local.stack.stack import PortBusyError, Stack
from darkroom_local.stack.state import StackState
from darkroom_local.stack.view import SteadyConsole

app = typer.Typer(
    help="Darkroom on one machine.", no_args_is_help=True, pretty_exceptions_enable=False
)

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
        help="The address that REST and DICOMweb listen on; 0.0.0.0: all of them.",
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
Encrypted = Annotated[
    bool,
    typer.Option(
        "--tls",
        help="TLS on every link, with certificates of an authority that is made here (tls/ca.pem).",
    ),
]
DicomTlsPort = Annotated[
    int,
    typer.Option(
        "--dicom-tls-port",
        envvar="DARKROOM_DICOM_TLS_PORT",
        min=1,
        max=65535,
        help="With --tls: the port of DICOM over TLS.",
    ),
]
PlainDicom = Annotated[
    bool,
    typer.Option(
        "--plain-dicom/--no-plain-dicom",
        envvar="DARKROOM_DICOM_PLAIN",
        help="With --tls: whether plain DICOM is there, too.",
    ),
]
TlsNames = Annotated[
    list[str] | None,
    typer.Option(
        "--tls-name",
        envvar="DARKROOM_TLS_NAMES",
        help="With --tls: another name or address that this machine is called by; repeatable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
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
    RecoveryError,
    SettingError,
    StartError,
    demonstration.DemoError,
    senders.SendersError,
    reindexing.ReindexError,
    verification.VerifyError,
)


@app.command()
def up(
    data: Data = DEFAULT,
    dicom_port: DicomPort = 11112,
    http_port: HttpPort = 8080,
    commitment_port: CommitmentPort = None,
    ae_title: AeTitle = "DARKROOM",
    listen: Listen = LOOPBACK,
    encrypted: Encrypted = False,
    dicom_tls_port: DicomTlsPort = 2762,
    plain_dicom: PlainDicom = True,
    tls_name: TlsNames = None,
) -> None:
    """Start everything and stay; Ctrl-C stops all of it.

    With DARKROOM_POSTGRES_URL or DARKROOM_AMQP_URL (or ..._FILE) set, these are used instead of a
    private PostgreSQL or RabbitMQ. Every other DARKROOM_ setting is handed on to the services.
    """

    async def run() -> None:
        settings = Settings.load(data, dicom_port, http_port, commitment_port, ae_title)
        tls = LocalTls(dicom_tls_port, plain_dicom, tuple(tls_name or ())) if encrypted else None
        settings = replace(settings, http_host=listen, tls=tls)
        make_reachable(settings.data)
        with DirectoryLock(settings.data):
            await asyncio.to_thread(may_start, settings.data, typer.echo)
            ports = {"DICOM": settings.dicom_port, "HTTP": settings.http_port}
            found = examination.examine(settings.data, ports, running_here=False)
            examination.keep(found, Layout(settings.data).findings)
            await Stack(settings, SteadyConsole()).run()

    _expecting_trouble(run)


@app.command()
def status(
    data: Data = DEFAULT,
    watching: Annotated[
        bool, typer.Option("--watch", help="Go on until interrupted or Darkroom stops.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say how the running stack is, and what waits in it; exit 1 unless all processes are ready."""
    file = data.expanduser().resolve() / "run" / "state.json"
    state = StackState.read(file)
    if state is None:
        typer.echo(f"Darkroom does not run in {data}: start it with darkroom up", err=as_json)
        raise typer.Exit(1)
    console = SteadyConsole()
    try:
        if watching:
            ready = asyncio.run(watch(file, console, json_lines=as_json))
        else:
            ready = asyncio.run(show(state, console, json_lines=as_json))
    except KeyboardInterrupt:
        return
    if not as_json and (last := Drill.read(data.expanduser().resolve())):
        typer.echo(str(last))
    if not ready:
        raise typer.Exit(1)


@app.command()
def roll(
    services: Annotated[
        list[str] | None, typer.Argument(help="Services to replace; without: all of them.")
    ] = None,
    data: Data = DEFAULT,
    python: Annotated[Path | None, typer.Option(help="The Python of the release to go to.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Go to the release before.")] = False,
    finish: Annotated[
        bool, typer.Option(help="Also run post migrations: then there is no way back.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replace the running processes one after the other; nobody is refused meanwhile.

    By those of another release (--python), of the one before (--back), or of the same. Exit code
    0: done; 2: not done, and the text says what runs now.
    """
    named = None if python is None else str(python.expanduser().absolute())
    wish = Wish(named, back=back, finish=finish)
    rolling.run(services or (), data, wish, as_json=as_json)


@app.command()
def queues(
    data: Data = DEFAULT,
    every: Annotated[bool, typer.Option("--all", help="Also those that are empty.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how much waits in each queue of the broker. Darkroom must run."""
    running(data)
    state = StackState.read(data.expanduser().resolve() / "run" / "state.json")
    if state is not None:
        asyncio.run(show_queues(state, SteadyConsole(), json_lines=as_json, every=every))


@app.command()
def doctor(
    data: Data = DEFAULT,
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
    data: Data = DEFAULT,
    save: Annotated[
        Path | None, typer.Option(help="Also keep the files that are sent in this directory.")
    ] = None,
    slices: Annotated[int, typer.Option(min=1, max=500, help="Slices of each CT series.")] = 24,
    only_studies: Annotated[
        bool, typer.Option("--only-studies", help="No jobs, film, worklist or trouble beside them.")
    ] = False,
) -> None:
    """Make sample studies of invented patients, send them, and show how to find and fetch them.

    Beside them something for every screen of the console: jobs, a film, the worklist, trouble.
    """

    async def run() -> None:
        await demonstration.run(
            data.expanduser().resolve(),
            save=save,
            slices=slices,
            console=Console(),
            only_studies=only_studies,
        )

    _expecting_trouble(run)


@app.command()
def verify(
    data: Data = DEFAULT,
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
    archive: Annotated[bool, typer.Option(help="With --all: what costs to be read, too.")] = False,
    bytes_per_second: Annotated[
        int | None, typer.Option(min=0, help="Limit of reading back; 0 is no limit.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare index and objects, both ways; exit 0 when all is well, 1 with findings, else 2.

    An interrupted run goes on where it was when the same is asked for again.
    """
    arguments = [
        *(["--all"] if read_all else []),
        *(["--since", since] if since else []),
        *(word for word, on in (("--repair", repair), ("--archive", archive)) if on),
        *(["--bytes-per-second", str(bytes_per_second)] if bytes_per_second is not None else []),
    ]
    _to_its_end(verification.run, data, arguments, as_json=as_json)


@app.command()
def reindex(
    data: Data = DEFAULT,
    study: Annotated[str | None, typer.Option(metavar="UID", help="This study alone.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every study.")] = False,
    objects_per_second: Annotated[
        int | None, typer.Option(min=0, help="Limit of reading; 0 is no limit.")
    ] = None,
    as_json: AsJson = False,
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
def ae(context: typer.Context, data: Data = DEFAULT) -> None:
    """Say who may send: ae list, add, set, remove; ae --help, ae add --help tell more."""
    if asks_how(arguments := context.args or ["--help"]):
        operators.tell_how("darkroom_ingest", "ae", arguments)
    _expecting_trouble(partial(senders.run, data.expanduser().resolve(), arguments), code=2)


@app.command()
def certificates(data: Data = DEFAULT, tls_name: TlsNames = None) -> None:
    """Make every certificate of `darkroom up --tls` anew; what runs takes them within seconds."""
    layout = Layout(data.expanduser().resolve())
    if not layout.tls.is_dir():
        typer.echo(f"darkroom: {layout.data} has no certificates: darkroom up --tls", err=True)
        raise typer.Exit(2)
    authority = Authority(layout, names_of_here(tls_name or ()))
    typer.echo("renewed: " + ", ".join(authority.renew(every=True)))


app.command()(validate)
app.command()(trace)
recovery.add(app)
operators.add(app)


def _expecting_trouble(run: Callable[[], Coroutine[Any, Any, Any]], *, code: int = 1) -> None:
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
        yield from _leaves(error) if isinstance(error, BaseExceptionGroup) else (error,)
