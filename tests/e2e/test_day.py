"""A modality's day, as docs/day.md has it: its commands are run as they stand."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from darkroom_local.engines.ports import free_port
from tests.e2e.user import DarkroomUp
from tests.integration.print.printers import dcmprscp

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE: Final = Path(__file__).parents[2] / "docs" / "day.md"
HL7_PORT: Final = free_port()
SETTINGS: Final = {"DARKROOM_HL7_PORT": str(HL7_PORT)}
LIMIT: Final = 120.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


async def test_the_day_goes_as_the_page_says(darkroom: DarkroomUp, tmp_path: Path) -> None:
    (modality,) = blocks("python")
    (tmp_path / "modality.py").write_text(modality)
    (tmp_path / "day.sh").write_text("set -euo pipefail\n" + "\n".join(blocks("sh")))
    programs = tmp_path / "bin"  # pynetdicom has programs of DCMTK's names beside these
    programs.mkdir()
    for name in ("python", "darkroom"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {Path(sys.executable).with_name(name)} "$@"\n')
        program.chmod(0o755)
    async with dcmprscp(tmp_path / "printer") as printer:
        environment = os.environ | {
            "PATH": f"{programs}:/usr/bin:{os.environ['PATH']}",
            "PORT": str(darkroom.dicom_port),
            "URL": darkroom.url,
            "DATA": str(darkroom.data),
            "HL7_PORT": str(HL7_PORT),
            "CT_PORT": str(free_port()),
            "FILM_PORT": str(printer.port),
        }
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-x",
            "day.sh",
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(LIMIT):
            output, _ = await process.communicate()
        assert process.returncode == 0, output.decode(errors="replace")[-6000:]
        assert len(printer.stored()) == 1
    logs = "".join(path.read_text(errors="replace") for path in (darkroom.data / "logs").iterdir())
    assert "Doris" not in logs
    assert "DAY-1" not in logs
