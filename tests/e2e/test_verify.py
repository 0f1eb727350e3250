"""`darkroom verify` as an operator has it."""

import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest

from darkroom_common.dicom.part10 import FileMeta, encode_head
from tests.e2e.user import DarkroomUp, digest, instances, value
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import send
from tests.support.waiting import until

EXPLICIT = "1.2.840.10008.1.2.1"
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


async def verify(data: Path, *arguments: str) -> tuple[int, str]:
    return await command("verify", data, *arguments)


async def command(name: str, data: Path, *arguments: str) -> tuple[int, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DARKROOM_")}
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("darkroom")),
        name,
        "--data",
        str(data),
        *arguments,
        env=environment | {"DARKROOM_VERIFY_GRACE_SECONDS": "0", "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def _indexed(client: httpx.AsyncClient, study: str, count: int) -> bool:
    return len(await instances(client, StudyInstanceUID=study)) >= count


@pytest.mark.req("ING-09", "STO-08")
async def test_damage_is_reported_and_an_orphan_repaired(
    darkroom: DarkroomUp, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    study = new_uid()
    sets = [a_data_set(StudyInstanceUID=study, InstanceNumber=n) for n in range(6)]
    sent = {str(one.SOPInstanceUID): encode(one) for one in sets}
    answers = await asyncio.to_thread(send, darkroom.dicom_port, sent.items())
    assert set(answers.values()) == {0}

    await until(partial(_indexed, client, study, len(sent)), limit=30)
    code, output = await verify(darkroom.data, "--all")
    assert (code, "all well" in output) == (0, True), output

    store = darkroom.data / "objects"
    flipped, gone, *_ = sorted(store.rglob("*.dcm"))
    content = flipped.read_bytes()
    flipped.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    gone_content = gone.read_bytes()
    gone.unlink()
    code, output = await verify(darkroom.data, "--all", "--json")
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 1, output
    assert {(one["object_key"], one["kind"]) for one in lines if one["event"] == "finding"} == {
        (str(flipped.relative_to(store)), "altered-object"),
        (str(gone.relative_to(store)), "missing-object"),
    }
    code, output = await verify(darkroom.data)
    assert code == 1
    assert f"missing-object: {gone.relative_to(store)} receipt " in output
    assert "1 altered-object, 1 missing-object" in output
    flipped.write_bytes(content)
    gone.write_bytes(gone_content)
    orphan = a_data_set(StudyInstanceUID=study)
    data = encode(orphan)
    head = encode_head(FileMeta(CT, str(orphan.SOPInstanceUID), EXPLICIT, "SCANNER", "DARKROOM"))
    (gone.parent / f"orphan.{digest(data)[:16]}.dcm").write_bytes(head + data)
    for _ in range(2):  # the second may come before or after it is indexed
        code, output = await verify(darkroom.data, "--all", "--repair")

    await until(partial(_indexed, client, study, len(sent) + 1), limit=30)
    code, output = await verify(darkroom.data, "--all")
    assert code == 0, output
    found = [value(one, "00080018") for one in await instances(client, StudyInstanceUID=study)]
    assert sorted(found) == sorted([*sent, str(orphan.SOPInstanceUID)])
    assert all(name not in output for name in ("Planted", "PLANTED"))


async def test_stored_objects_are_read_again(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    study = new_uid()
    sets = [a_data_set(StudyInstanceUID=study, InstanceNumber=n) for n in range(3)]
    sent = {str(one.SOPInstanceUID): encode(one) for one in sets}
    await asyncio.to_thread(send, darkroom.dicom_port, sent.items())

    async def indexed() -> bool:
        return len(await instances(client, StudyInstanceUID=study)) == len(sent)

    await until(indexed, "the objects in the index")
    code, output = await command("reindex", darkroom.data, "--study", study)
    told = "3 objects of 1 studies were read, 0 were indexed otherwise than today"
    assert (code, told in output) == (0, True), output
    code, output = await command("reindex", darkroom.data, "--all", "--json")
    lines = [json.loads(line) for line in output.splitlines()]
    assert (code, lines[0]["event"], lines[-1]["event"]) == (0, "started", "summary"), output
    assert lines[-1]["instances"] >= len(sent)


@pytest.mark.parametrize("name", ["verify", "reindex"])
async def test_where_nothing_runs_it_says_so_and_ends_with_2(name: str, tmp_path: Path) -> None:
    code, output = await command(name, tmp_path)
    assert code == 2
    assert "darkroom up" in output
