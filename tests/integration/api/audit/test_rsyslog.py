"""The audit log at a real rsyslogd, by syslog over TLS, which is killed and started again."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from darkroom_api.atna.forwarding import Forwarding, RepositoryAway, TlsWire, tls_context
from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.integration.api.audit.conftest import SEAL
from tests.support.audit_repository import read
from tests.support.certificates import Authority
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.integration.api.audit.conftest import Desk

_CONFIGURATION: Final = """\
global(workDirectory="{directory}" maxMessageSize="256k"
  parser.escapeControlCharactersOnReceive="off"
  defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{authority}"
  defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1"
  streamDriver.authMode="x509/certvalid")
input(type="imtcp" address="{host}" port="{port}")
template(name="whole" type="string" string="%rawmsg%\\n")
action(type="omfile" file="{taken}" template="whole")
"""
MESSAGES: Final = 60


@asynccontextmanager
async def rsyslogd(configuration: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run it for the length of a block; at the end it is killed, with all that it holds."""
    program = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin")
    assert program, "infra/local/bootstrap.sh test"
    pid_file = configuration.with_suffix(".pid")
    pid_file.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        program, "-n", "-f", str(configuration), "-i", str(pid_file)
    )

    async def open_now() -> bool:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.close()
        return True

    try:
        await until(open_now, "rsyslogd", retry=(OSError,))
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


def names(taken: Path) -> list[str]:
    """Return whose messages are in its file, each of which is held to the standard's form."""
    lines = taken.read_bytes().splitlines() if taken.exists() else []
    return [
        read(line).document.findall("ActiveParticipant")[0].attrib["UserName"] for line in lines
    ]


async def send_all(made: Forwarding) -> None:
    """Send what there is, however often the other side has to be asked."""

    async def over() -> bool:
        while await made.send():
            pass
        return True

    await until(over, "all is sent", retry=(RepositoryAway,))


@pytest.mark.req("API-05")
async def test_rsyslogd_that_is_killed_gets_everything_in_order(
    desk: "Desk", tmp_path: Path
) -> None:
    authority, port, taken = Authority(tmp_path), free_port(), tmp_path / "taken"
    server, mine = authority.sign("repository"), authority.sign("darkroom")
    configuration = tmp_path / "rsyslog.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            directory=tmp_path,
            authority=authority.file,
            certificate=server.certificate,
            key=server.key,
            host=LOOPBACK,
            port=port,
            taken=taken,
        )
    )
    wire = TlsWire("localhost", port, tls_context(authority.file, mine.certificate, mine.key))
    made = Forwarding(desk.database, SEAL, wire, repository=f"localhost:{port}", name="darkroom")
    wanted = [f"{number}-{n}" for number in range(MESSAGES // 5) for n in range(5)]
    try:
        async with rsyslogd(configuration, port) as first:
            await send_all(made)  # it begins with what comes from now on
            for number in range(MESSAGES // 10):
                await desk.write(*wanted[5 * number : 5 * number + 5])
                await made.send()
            first.send_signal(signal.SIGKILL)  # with what it has acknowledged and not written
            await first.wait()
            for number in range(MESSAGES // 10, MESSAGES // 5):
                await desk.write(*wanted[5 * number : 5 * number + 5])
            with pytest.raises(RepositoryAway):
                while await made.send():
                    pass
        async with rsyslogd(configuration, port):
            await send_all(made)

            async def all_there() -> bool:
                return names(taken)[-1:] == wanted[-1:]

            await until(all_there, "the last message", retry=(AssertionError, SyntaxError))
    finally:
        wire.close()
    assert list(dict.fromkeys(names(taken))) == wanted
