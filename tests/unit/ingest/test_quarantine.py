"""Objects in quarantine: listed, shown without PHI, released once however often it is cut."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.objects import quarantine as quarantine_module
from darkroom_common.objects.directory import sync_directory
from darkroom_common.objects.quarantine import (
    Busy,
    NotQuarantined,
    Quarantine,
    QuarantineFull,
    on_disk,
)
from darkroom_common.objects.spool import Spool
from darkroom_ingest.quarantine.command import NotDone, quarantine
from darkroom_ingest.receiving.acceptance import Offer
from darkroom_ingest.receiving.receive import Receiver
from darkroom_ingest.settings import IngestSettings
from tests.support.builders import CT, a_data_set, encode, new_uid

EXPLICIT = "1.2.840.10008.1.2.1"


def settings(root: Path, **changes: Any) -> IngestSettings:
    given = {
        "postgres_url": "postgresql://u@127.0.0.1/d",
        "amqp_url": "amqp://u@localhost/v",
        "pseudonym_key": "x",
        "store_url": "file:///nowhere",
        "spool": root,
        "reserve_bytes": 0,
    }
    return IngestSettings(**{**given, **changes})


def receive(root: Path, data: bytes, uid: str, ae: str = "SCANNER", **changes: Any) -> int:
    """Receive one object as a worker does, and return the answer."""
    told = settings(root, **changes)
    spool = Spool(root, worker="0", quarantine_limit=told.quarantine_bytes)
    receiver = Receiver(
        spool,
        0,
        told.max_object_bytes,
        lambda _: None,
        limits=told.read_limits,
        strict_uids=told.strict_uids,
    )
    reception = receiver.begin(Offer(CT, uid, EXPLICIT, ae, "DARKROOM"))
    reception.write([memoryview(data)])
    return reception.finish()


def do(root: Path, *words: str, **changes: Any) -> int:
    return asyncio.run(quarantine(settings(root, **changes), words))


def only(root: Path) -> str:
    (entry,) = Quarantine(root / "quarantine").entries()
    return entry.id


def ready(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "ready").iterdir())


def left_aside(root: Path) -> set[str]:
    aside = root / "quarantine"
    return {p.name for p in aside.iterdir()} - {".lock", "actions.jsonl"}


def actions(root: Path) -> list[dict[str, Any]]:
    lines = (root / "quarantine" / "actions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_what_is_refused_is_listed_and_shown_without_phi(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = a_data_set()
    uid, data = str(one.SOPInstanceUID), encode(one)
    assert receive(tmp_path, data[:-3], uid, ae="EVIL\x1b[31m\r\n") == 0xC000
    capsys.readouterr()  # the log
    assert do(tmp_path, "list", "--json") == 0
    (listed,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (listed["reason"], listed["status"], listed["size"]) == (
        "truncated",
        "C000",
        len(data) - 3,
    )
    assert do(tmp_path, "list") == 0
    assert do(tmp_path, "show", listed["id"]) == 0
    out = capsys.readouterr().out
    assert f"byte {len(data) - 4}" in out or f"'position': {len(data) - 3}" in out
    assert "(0008,0018) SOPInstanceUID" in out
    assert uid in out
    assert "(0010,0010) PatientName" in out
    assert "truncated" in out
    assert "\x1b" not in out
    assert "\r" not in out
    for planted in ("Planted", "PLANTED", "A1 ", "20240131"):
        assert planted not in out
    assert do(tmp_path, "show", "--json", listed["id"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["today"] == {
        "readable": False,
        "reason": "truncated",
        "position": len(data) - 3,
        "can_be_forced": True,
    }
    assert {e["tag"]: e["value"] for e in shown["elements"]}["0028,0010"] == 2
    assert do(tmp_path, "list", "--reason", "bad-uid", "--json") == 0
    assert do(tmp_path, "list", "--since", "2100-01-01", "--json") == 0
    assert capsys.readouterr().out == ""


def test_a_limit_that_is_raised_lets_it_be_released(tmp_path: Path) -> None:
    one = a_data_set()
    uid, data = str(one.SOPInstanceUID), encode(one)
    assert receive(tmp_path, data, uid, max_elements=10) == 0xC000
    receipt = only(tmp_path)
    with pytest.raises(NotDone, match="too-many-elements at byte"):
        do(tmp_path, "release", receipt, max_elements=10)
    assert ready(tmp_path) == []
    assert do(tmp_path, "release", receipt) == 0
    assert ready(tmp_path) == [receipt]
    assert left_aside(tmp_path) == set()
    spool = Spool(tmp_path)
    read = spool.read_receipt(receipt)
    assert read.identity.sop_instance_uid == uid
    assert read.calling_ae_title == "SCANNER"
    assert read.identity.flags == ()
    assert spool.path(receipt).read_bytes()[read.data_set_offset :] == data
    (action,) = actions(tmp_path)
    assert (action["action"], action["receipt"], action["forced"]) == ("release", receipt, False)


def test_a_broken_object_is_released_by_force_only(tmp_path: Path) -> None:
    one = a_data_set()
    uid, data = str(one.SOPInstanceUID), encode(one)[:-3]
    assert receive(tmp_path, data, uid) == 0xC000
    receipt = only(tmp_path)
    with pytest.raises(NotDone, match="--force accepts it as it is"):
        do(tmp_path, "release", receipt)
    assert do(tmp_path, "release", receipt, "--force") == 0
    spool = Spool(tmp_path)
    read = spool.read_receipt(receipt)
    assert read.identity.sop_instance_uid == uid
    assert read.identity.study_instance_uid == one.StudyInstanceUID
    assert read.identity.flags == ("released-as-it-is",)
    assert read.size == len(data)
    assert spool.path(receipt).read_bytes()[read.data_set_offset :] == data


def test_who_cannot_be_told_is_not_released_even_by_force(tmp_path: Path) -> None:
    assert receive(tmp_path, b"x" * 300, new_uid()) == 0xC000
    with pytest.raises(NotDone, match="cannot help"):
        do(tmp_path, "release", only(tmp_path), "--force")
    assert ready(tmp_path) == []


def test_a_mismatch_that_is_forced_gets_the_head_of_its_data_set(tmp_path: Path) -> None:
    one = a_data_set()
    assert receive(tmp_path, encode(one), new_uid()) == 0xA900
    receipt = only(tmp_path)
    with pytest.raises(NotDone, match="uid-mismatch"):
        do(tmp_path, "release", receipt)
    assert do(tmp_path, "release", receipt, "--force") == 0
    assert Spool(tmp_path).read_receipt(receipt).identity.sop_instance_uid == one.SOPInstanceUID


def test_what_was_cut_at_the_limit_is_never_taken_for_whole(tmp_path: Path) -> None:
    one = a_data_set()
    del one.PixelData
    data, uid = encode(one), str(one.SOPInstanceUID)
    told = settings(tmp_path, max_object_bytes=len(data))
    receiver = Receiver(
        Spool(tmp_path, worker="0"), 0, told.max_object_bytes, lambda _: None
    )  # the first part ends where an element ends
    reception = receiver.begin(Offer(CT, uid, EXPLICIT, "SCANNER", "DARKROOM"))
    for part in (data, bytes(100)):
        reception.write([memoryview(part)])
    assert reception.finish() == 0xC000
    with pytest.raises(NotDone, match="incomplete"):
        do(tmp_path, "release", only(tmp_path))


def test_strict_uids_are_a_setting(tmp_path: Path) -> None:
    data = encode(a_data_set(SOPInstanceUID="1.2.13")).replace(b"1.2.13", b"1.2.03")
    assert receive(tmp_path, data, "1.2.03", strict_uids=True) == 0xC000
    receipt = only(tmp_path)
    with pytest.raises(NotDone, match="STRICT_UIDS"):
        do(tmp_path, "release", receipt, strict_uids=True)
    assert do(tmp_path, "release", receipt) == 0
    assert Spool(tmp_path).read_receipt(receipt).identity.flags == ("nonconformant-uid",)


def test_replay_releases_all_that_can_be_read_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        one = a_data_set()
        receive(tmp_path, encode(one), str(one.SOPInstanceUID), max_elements=10)
    one = a_data_set()
    receive(tmp_path, encode(one)[:-3], str(one.SOPInstanceUID))
    assert do(tmp_path, "replay", "--reason", "bad-uid") == 0
    assert do(tmp_path, "replay", "--all") == 1
    assert "3 released, 1 left" in capsys.readouterr().out
    assert len(ready(tmp_path)) == 3
    only(tmp_path)


def test_discard_asks_and_deletes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receive(tmp_path, b"x" * 300, new_uid())
    receipt = only(tmp_path)
    with pytest.raises(NotDone, match=f"say --yes to delete {receipt}"):
        do(tmp_path, "discard", receipt)
    assert only(tmp_path) == receipt
    assert do(tmp_path, "discard", receipt, "--yes") == 0
    assert f"deleted {receipt}" in capsys.readouterr().out
    assert left_aside(tmp_path) == set()
    assert [a["action"] for a in actions(tmp_path)] == ["discard"]


def test_export_copies_and_never_overwrites(tmp_path: Path) -> None:
    one = a_data_set()
    data = encode(one)[:-3]
    receive(tmp_path / "spool", data, str(one.SOPInstanceUID))
    receipt, target = only(tmp_path / "spool"), tmp_path / "out.dcm"
    assert do(tmp_path / "spool", "export", receipt, str(target)) == 0
    content = target.read_bytes()
    assert content[:132] == bytes(128) + b"DICM"
    assert content.endswith(data)
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(NotDone, match="exists"):
        do(tmp_path / "spool", "export", receipt, str(target))


@pytest.mark.parametrize("word", ["show", "release", "discard"])
@pytest.mark.parametrize("receipt", ["0" * 32, "../../etc/passwd", "a", ""])
def test_an_unknown_id_is_an_error(tmp_path: Path, word: str, receipt: str) -> None:
    Spool(tmp_path).close()
    with pytest.raises(NotQuarantined):
        do(tmp_path, word, receipt)


def test_one_command_at_a_time(tmp_path: Path) -> None:
    Spool(tmp_path).close()
    aside = Quarantine(tmp_path / "quarantine")
    with aside.alone(), pytest.raises(Busy):
        do(tmp_path, "replay", "--all")


def test_the_limit_keeps_the_old_and_refuses_the_new(tmp_path: Path) -> None:
    limit = 2 * on_disk(1000)
    for number in range(4):
        assert receive(tmp_path, b"x" * 300, new_uid(), quarantine_bytes=limit) == 0xC000
        assert Quarantine(tmp_path / "quarantine").usage().items == min(number + 1, 2)
    assert [p for p in (tmp_path / "tmp").rglob("*") if p.is_file()] == []
    aside = Quarantine(tmp_path / "quarantine", limit=on_disk(1000))
    with pytest.raises(QuarantineFull):
        aside.admit(1)


def test_a_lost_note_hides_nothing(tmp_path: Path) -> None:
    receive(tmp_path, b"x" * 300, new_uid())
    (note,) = (tmp_path / "quarantine").glob("*.json")
    note.write_bytes(b"")
    (entry,) = Quarantine(tmp_path / "quarantine").entries()
    assert entry.reason == "unknown"
    assert do(tmp_path, "show", entry.id) == 0


class Cut(BaseException):
    """The process was killed here."""


def steps(monkeypatch: pytest.MonkeyPatch, die_at: int) -> Callable[[], int]:
    """Die before, or right after, the n-th step that changes the volume."""
    count = 0

    def cut(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == die_at:
                raise Cut
            result = real(*arguments, **named)
            count += 1
            if count == die_at:
                raise Cut
            return result

        return step

    for name in ("rename", "unlink"):
        monkeypatch.setattr(Path, name, cut(getattr(Path, name)))
    for name in ("fsync", "utime"):
        monkeypatch.setattr(os, name, cut(getattr(os, name)))
    monkeypatch.setattr(quarantine_module, "sync_directory", cut(sync_directory))
    return lambda: count


@pytest.mark.parametrize("forced", [False, True])
def test_a_release_that_is_cut_anywhere_and_repeated_gives_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: bool
) -> None:
    number = 0
    while True:
        number += 1
        root = tmp_path / str(number)
        one = a_data_set()
        data = encode(one)[: -3 if forced else None]
        receive(root, data, str(one.SOPInstanceUID), max_elements=10_000 if forced else 10)
        receipt = only(root)
        words = ["release", receipt, *(["--force"] if forced else [])]
        with monkeypatch.context() as patch:
            count = steps(patch, die_at=number)
            with contextlib.suppress(Cut):
                do(root, *words)
            finished = count() < number
        there = (root / "ready" / receipt).exists()
        assert there != (root / "quarantine" / receipt).exists()
        if not there:
            assert do(root, *words) == 0
        old = time.time() - 120
        for path in (root / "quarantine").iterdir():
            os.utime(path, (old, old))
        with Quarantine(root / "quarantine").alone():
            assert left_aside(root) == set()
        spool = Spool(root)
        read = spool.read_receipt(receipt)
        assert spool.path(receipt).read_bytes()[read.data_set_offset :] == data
        spool.close()
        if finished:
            assert number > 6
            return


def test_a_limit_that_is_lowered_does_not_lose_what_is_ready(tmp_path: Path) -> None:
    deep = b"\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 200
    ends = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00" * 200
    one = a_data_set()
    del one.PixelData
    data = encode(one) + deep + ends
    assert receive(tmp_path, data, str(one.SOPInstanceUID)) == 0xC000
    assert receive(tmp_path, data, str(one.SOPInstanceUID), max_depth=300) == 0
    (name,) = ready(tmp_path)
    assert Spool(tmp_path).read_receipt(name).size == len(data)
