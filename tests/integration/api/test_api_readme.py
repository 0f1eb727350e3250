"""The README's lines from login to a finished Excel export, run as they stand."""

import asyncio
import os
import re
from pathlib import Path

import openpyxl

from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set

README = Path(__file__).parents[3] / "README.md"


async def test_the_lines_of_the_readme_make_an_excel_file(api: Api, tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    lines = next(block for block in blocks if "studies/export" in block)
    await api.seed.add(a_data_set(AccessionNumber="A1", StudyDate="20260101"))
    (tmp_path / "admin-password").write_text(f"{api.services.admin_password}\n")
    (tmp_path / "here").mkdir()
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        lines,
        cwd=tmp_path / "here",
        env={**os.environ, "DARKROOM_URL": api.url, "DARKROOM_DATA": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    sheet = openpyxl.load_workbook(tmp_path / "here" / "studies.xlsx").active
    assert sheet is not None
    rows = list(sheet.iter_rows(values_only=True))
    assert [row[0] for row in rows] == ["Exam ID", "A1"]
