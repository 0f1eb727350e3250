"""An export takes the memory that is planned for it, however many studies are in it."""

import subprocess
import sys

import pytest

from darkroom_api.exports.making import MEMORY

FEW, MANY = 1_000, 8_000
BESIDE: int = 6 << 20
"""Bytes for what the database sends of some hundred studies, which is not measured here."""
GROWTH: int = 3 << 20


def memory(name: str, rows: int) -> int:
    command = [sys.executable, "-m", "tests.support.export_memory", name, str(rows)]
    return int(subprocess.check_output(command, timeout=120))


@pytest.mark.req("API-08")
@pytest.mark.parametrize("name", ["csv", "excel", "pdf"])
def test_an_export_takes_the_same_memory_for_few_rows_as_for_many(name: str) -> None:
    few, many = memory(name, FEW), memory(name, MANY)
    assert many + BESIDE <= MEMORY, f"{many / 2**20:.1f} MiB"
    assert many - few <= GROWTH, f"{few / 2**20:.1f} MiB, then {many / 2**20:.1f} MiB"
