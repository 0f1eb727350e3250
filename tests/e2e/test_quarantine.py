"""`darkroom quarantine` as an operator has it."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.user import DarkroomUp, instances
from tests.support.builders import a_data_set, encode, new_uid
from tests.support.dicom_peer import send
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
_OPEN = bytes.fromhex("40007502 53510000 ffffffff feff00e0 ffffffff")
_CLOSE = bytes.fromhex("feff0de0 00000000 feffdde0 00000000")


async def quarantine(data: Path, *words: str, **settings: str) -> tuple[int, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DARKROOM_")}
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("darkroom")),
        "quarantine",
        "--data",
        str(data),
        *words,
        env=environment | {f"DARKROOM_{k}": v for k, v in settings.items()},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def listed(data: Path) -> list[dict[str, Any]]:
    code, output = await quarantine(data, "list", "--json")
    assert code == 0, output
    return [json.loads(line) for line in output.splitlines()]


def nested(study: str, depth: int) -> tuple[str, bytes]:
    one = a_data_set(StudyInstanceUID=study)
    del one.PixelData
    return str(one.SOPInstanceUID), encode(one) + _OPEN * depth + _CLOSE * depth


async def found_once(client: httpx.AsyncClient, study: str, count: int) -> None:
    async def came() -> bool:
        return len(await instances(client, StudyInstanceUID=study)) >= count

    await until(came, limit=30)
    assert len(await instances(client, StudyInstanceUID=study)) == count


@pytest.mark.req("ING-10")
async def test_a_truncated_object_is_kept_shown_exported_and_discarded(
    darkroom: DarkroomUp, tmp_path: Path
) -> None:
    one = a_data_set()
    uid, data = str(one.SOPInstanceUID), encode(one)[:-3]
    assert await asyncio.to_thread(send, darkroom.dicom_port, [(uid, data)]) == {uid: 0xC000}
    (entry,) = await listed(darkroom.data)
    assert (entry["reason"], entry["status"]) == ("truncated", "C000")
    code, output = await quarantine(darkroom.data, "show", entry["id"])
    assert code == 0
    assert "(0008,0018) SOPInstanceUID" in output
    assert "Planted" not in output
    assert "PLANTED" not in output
    code, output = await quarantine(darkroom.data, "release", entry["id"])
    assert (code, "truncated at byte" in output) == (2, True)
    target = tmp_path / "object.dcm"
    code, output = await quarantine(darkroom.data, "export", entry["id"], str(target))
    assert code == 0, output
    assert target.read_bytes().endswith(data)
    code, output = await quarantine(darkroom.data, "discard", entry["id"])
    assert (code, "say --yes" in output) == (2, True)
    code, output = await quarantine(darkroom.data, "discard", entry["id"], "--yes")
    assert code == 0, output
    assert await listed(darkroom.data) == []
    code, output = await quarantine(darkroom.data, "show", entry["id"])
    assert (code, "nothing in quarantine" in output) == (2, True)


@pytest.mark.req("ING-10")
async def test_what_a_raised_limit_lets_in_is_released_and_found_once(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    study = new_uid()
    objects = [nested(study, 100) for _ in range(4)]
    answers = await asyncio.to_thread(send, darkroom.dicom_port, objects)
    assert set(answers.values()) == {0xC000}
    (first, *_) = entries = await listed(darkroom.data)
    assert {entry["reason"] for entry in entries} == {"nested-too-deep"}
    code, output = await quarantine(darkroom.data, "release", first["id"])
    assert (code, "nested-too-deep" in output) == (2, True)
    code, output = await quarantine(darkroom.data, "release", first["id"], MAX_DEPTH="128")
    assert code == 0, output
    await found_once(client, study, 1)

    assert await darkroom.stop() == 0  # ingest need not run
    code, output = await quarantine(
        darkroom.data, "replay", "--reason", "nested-too-deep", MAX_DEPTH="128"
    )
    assert (code, "3 released, 0 left" in output) == (0, True), output
    await darkroom.start()
    await found_once(client, study, 4)
    assert await listed(darkroom.data) == []
    assert list((darkroom.data / "spool" / "ready").iterdir()) == []


async def test_where_nothing_ever_ran_it_says_so(tmp_path: Path) -> None:
    code, output = await quarantine(tmp_path, "list")
    assert (code, "never run" in output) == (2, True)
