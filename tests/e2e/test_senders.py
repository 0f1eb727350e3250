"""`darkroom ae` as an operator has it."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.e2e.user import DarkroomUp
from tests.support.dicom_peer import ECHO, Association, Rejected
from tests.support.waiting import until

CONTEXTS = {1: (ECHO, "1.2.840.10008.1.2")}
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


async def ae(data: Path, *arguments: str) -> tuple[int, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DARKROOM_")}
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("darkroom")),
        "ae",
        "--data",
        str(data),
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def echo(port: int, calling: str) -> int | tuple[int, int, int]:
    try:
        with Association(port, CONTEXTS, calling=calling) as peer:
            return peer.echo(1)
    except Rejected as rejected:
        return rejected.answer


@pytest.mark.req("ING-05")
async def test_one_machine_is_open_says_so_and_keeps_out_whom_it_is_told_to(
    darkroom: DarkroomUp,
) -> None:
    await until(lambda: any("OPEN: any sender" in line for line in darkroom.output))
    assert echo(darkroom.dicom_port, "ANYBODY") == 0
    assert (await ae(darkroom.data, "list")) == (0, "no sender is listed\n")
    code, output = await ae(darkroom.data, "add", "BAD*", "--any-host", "--disable", "--by", "me")
    assert (code, output) == (0, "BAD* is listed\n")

    async def came() -> bool:
        return await asyncio.to_thread(echo, darkroom.dicom_port, "BADLY") == (1, 1, 3)

    await until(came)
    assert echo(darkroom.dicom_port, "ANYBODY") == 0
    code, output = await ae(darkroom.data, "list", "--json")
    assert [one["ae_title"] for one in json.loads(output)["senders"]] == ["BAD*"]
    code, output = await ae(darkroom.data, "add", "BAD*", "--any-host")
    assert (code, "BAD* is listed already" in output) == (2, True)
    code, output = await ae(darkroom.data, "add", "X")
    assert (code, "--any-host" in output) == (2, True)
    assert (await ae(darkroom.data, "--help"))[0] == 0
    assert (await ae(darkroom.data, "remove", "BAD*"))[0] == 0
    audited = (darkroom.data / "logs" / "ae.log").read_text().splitlines()
    lines = [json.loads(line) for line in audited if "senders.changed" in line]
    assert [line["action"] for line in lines] == ["added", "removed"]
    assert lines[0]["by"] == "me"


async def test_where_nothing_runs_it_says_so(tmp_path: Path) -> None:
    code, output = await ae(tmp_path, "list")
    assert (code, "darkroom up" in output) == (2, True)
