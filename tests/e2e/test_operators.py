"""One machine as its operators have it: `darkroom ae`, `verify`, `reindex`, `quarantine`.

And a destination that confirms what it keeps, as it comes out of the box.
"""

import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_local.engines.ports import LOOPBACK
from tests.e2e.user import DarkroomUp, digest, instances, value
from tests.integration.transmit.keeper import Keeper, commitment, keeping
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import ECHO, Association, Rejected, send
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
CONTEXTS = {1: (ECHO, IMPLICIT)}
_OPEN = bytes.fromhex("40007502 53510000 ffffffff feff00e0 ffffffff")
_CLOSE = bytes.fromhex("feff0de0 00000000 feffdde0 00000000")


async def say(command: str, data: Path, *words: str, **settings: str) -> tuple[int, str]:
    """Run a command of `darkroom`; return its exit code and what it says."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DARKROOM_")}
    settings = {"VERIFY_GRACE_SECONDS": "0", **settings}
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("darkroom")),
        *(command, "--data", str(data), *words),
        env=environment | {"COLUMNS": "200"} | {f"DARKROOM_{k}": v for k, v in settings.items()},
        stdin=asyncio.subprocess.DEVNULL,
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
    assert (await say("ae", darkroom.data, "list")) == (0, "no sender is listed\n")
    code, output = await say(
        "ae", darkroom.data, "add", "BAD*", "--any-host", "--disable", "--by", "me"
    )
    assert (code, output) == (0, "BAD* is listed\n")

    async def came() -> bool:
        return await asyncio.to_thread(echo, darkroom.dicom_port, "BADLY") == (1, 1, 3)

    await until(came)
    assert echo(darkroom.dicom_port, "ANYBODY") == 0
    code, output = await say("ae", darkroom.data, "list", "--json")
    assert [one["ae_title"] for one in json.loads(output)["senders"]] == ["BAD*"]
    code, output = await say("ae", darkroom.data, "add", "BAD*", "--any-host")
    assert (code, "BAD* is listed already" in output) == (2, True)
    code, output = await say("ae", darkroom.data, "add", "X")
    assert (code, "--any-host" in output) == (2, True)
    assert (await say("ae", darkroom.data, "--help"))[0] == 0
    assert (await say("ae", darkroom.data, "remove", "BAD*"))[0] == 0
    audited = (darkroom.data / "logs" / "ae.log").read_text().splitlines()
    lines = [json.loads(line) for line in audited if "senders.changed" in line]
    assert [line["action"] for line in lines] == ["added", "removed"]
    assert lines[0]["by"] == "me"


async def test_where_nothing_runs_no_sender_is_listed(tmp_path: Path) -> None:
    code, output = await say("ae", tmp_path, "list")
    assert (code, "darkroom up" in output) == (2, True)


@pytest.mark.req("TRX-06")
async def test_a_destination_reports_on_an_association_of_its_own(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    image = a_data_set()
    uid = str(image.SOPInstanceUID)
    assert await asyncio.to_thread(send, darkroom.dicom_port, [(uid, encode(image))]) == {uid: 0}
    await until(lambda: instances(client, SOPInstanceUID=uid))
    with keeping(Keeper(report="new", report_port=darkroom.commitment_port)) as keeper:
        destination = {
            "name": "PACS",
            "ae_title": "PACS",
            "host": LOOPBACK,
            "port": keeper.port,
            "transfer_syntaxes": [IMPLICIT],
            **commitment(),
        }
        (await client.post("/api/v1/destinations", json=destination)).raise_for_status()
        asked = {"destination": "PACS", "study_instance_uid": str(image.StudyInstanceUID)}
        answer = await client.post("/api/v1/transmit/jobs", json=asked)
        assert answer.status_code == 202, answer.text
        job = f"/api/v1/transmit/jobs/{answer.json()['job_id']}"

        async def came() -> bool:
            return bool((await client.get(job)).json().get("state") == "COMMITTED")

        await until(came, limit=40)
        assert (keeper.stored, keeper.asked) == ([uid], [[uid]])


async def test_what_is_made_to_be_sent_or_printed_lies_beside_the_objects(
    darkroom: DarkroomUp,
) -> None:
    scratch = darkroom.data / "scratch"
    made = {path.name.partition("-")[0] for path in scratch.iterdir()}
    assert made == {"conversion", "film", "associations"}
    assert scratch.stat().st_mode & 0o077 == 0
    await until(
        lambda: any(
            f"storage commitment on port {darkroom.commitment_port}" in line
            for line in darkroom.output
        )
    )


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
    code, output = await say("verify", darkroom.data, "--all")
    assert (code, "all well" in output) == (0, True), output

    store = darkroom.data / "objects"
    flipped, gone, *_ = sorted(store.rglob("*.dcm"))
    content = flipped.read_bytes()
    flipped.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    gone_content = gone.read_bytes()
    gone.unlink()
    code, output = await say("verify", darkroom.data, "--all", "--json")
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 1, output
    assert {(one["object_key"], one["kind"]) for one in lines if one["event"] == "finding"} == {
        (str(flipped.relative_to(store)), "altered-object"),
        (str(gone.relative_to(store)), "missing-object"),
    }
    code, output = await say("verify", darkroom.data)
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
        code, output = await say("verify", darkroom.data, "--all", "--repair")

    await until(partial(_indexed, client, study, len(sent) + 1), limit=30)
    code, output = await say("verify", darkroom.data, "--all")
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
    code, output = await say("reindex", darkroom.data, "--study", study)
    told = "3 objects of 1 studies were read, 0 were indexed otherwise than today"
    assert (code, told in output) == (0, True), output
    code, output = await say("reindex", darkroom.data, "--all", "--json")
    lines = [json.loads(line) for line in output.splitlines()]
    assert (code, lines[0]["event"], lines[-1]["event"]) == (0, "started", "summary"), output
    assert lines[-1]["instances"] >= len(sent)


@pytest.mark.parametrize("name", ["verify", "reindex"])
async def test_where_nothing_runs_it_says_so_and_ends_with_2(name: str, tmp_path: Path) -> None:
    code, output = await say(name, tmp_path)
    assert code == 2
    assert "darkroom up" in output


async def listed(data: Path) -> list[dict[str, Any]]:
    code, output = await say("quarantine", data, "list", "--json")
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
    code, output = await say("quarantine", darkroom.data, "show", entry["id"])
    assert code == 0
    assert "(0008,0018) SOPInstanceUID" in output
    assert "Planted" not in output
    assert "PLANTED" not in output
    code, output = await say("quarantine", darkroom.data, "release", entry["id"])
    assert (code, "truncated at byte" in output) == (2, True)
    target = tmp_path / "object.dcm"
    code, output = await say("quarantine", darkroom.data, "export", entry["id"], str(target))
    assert code == 0, output
    assert target.read_bytes().endswith(data)
    code, output = await say("quarantine", darkroom.data, "discard", entry["id"])
    assert (code, "say --yes" in output) == (2, True)
    code, output = await say("quarantine", darkroom.data, "discard", entry["id"], "--yes")
    assert code == 0, output
    assert await listed(darkroom.data) == []
    code, output = await say("quarantine", darkroom.data, "show", entry["id"])
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
    code, output = await say("quarantine", darkroom.data, "release", first["id"])
    assert (code, "nested-too-deep" in output) == (2, True)
    code, output = await say("quarantine", darkroom.data, "release", first["id"], MAX_DEPTH="128")
    assert code == 0, output
    await found_once(client, study, 1)

    assert await darkroom.stop() == 0  # ingest need not run
    code, output = await say(
        "quarantine", darkroom.data, "replay", "--reason", "nested-too-deep", MAX_DEPTH="128"
    )
    assert (code, "3 released, 0 left" in output) == (0, True), output
    await darkroom.start()
    await found_once(client, study, 4)
    assert await listed(darkroom.data) == []
    assert list((darkroom.data / "spool" / "ready").iterdir()) == []


async def test_where_nothing_ever_ran_it_says_so(tmp_path: Path) -> None:
    code, output = await say("quarantine", tmp_path, "list")
    assert (code, "never run" in output) == (2, True)
