"""The spool: what is committed is whole and durable, what is not leaves nothing."""

import json
import os
import threading
from pathlib import Path

import pytest

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.errors import ConfigurationError
from darkroom_common.objects.directory import OpenDirectory
from darkroom_common.objects.spool import GroupSync, Spool, SpoolFailed
from tests.support.builders import CT, a_data_set, encode
from tests.support.waiting import LIMIT

EXPLICIT = "1.2.840.10008.1.2.1"


def a_file(uid: str) -> bytes:
    return encode_head(FileMeta(CT, uid, EXPLICIT, "SCANNER", "DARKROOM"))


def test_a_committed_file_says_its_own_receipt(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    data_set = a_data_set()
    data = encode(data_set)
    incoming = spool.begin()
    spool.write(incoming, a_file(str(data_set.SOPInstanceUID)), data)
    assert spool.waiting() == []
    spool.commit(incoming)
    assert spool.waiting() == [incoming.receipt_id]
    receipt = spool.read_receipt(incoming.receipt_id)
    assert receipt.identity.sop_instance_uid == data_set.SOPInstanceUID
    assert receipt.calling_ae_title == "SCANNER"
    assert receipt.called_ae_title == "DARKROOM"
    assert receipt.size == len(data)
    kept = spool.path(receipt.id).read_bytes()
    assert kept[receipt.data_set_offset :] == data
    spool.remove(receipt.id)
    assert spool.waiting() == []


def test_a_new_run_drops_what_was_never_answered(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    kept, lost = spool.begin(), spool.begin()
    spool.write(kept, b"kept")
    spool.commit(kept)
    spool.write(lost, b"half")
    lost.close()  # as the end of the process does
    spool.close()
    again = Spool(tmp_path)
    assert again.waiting() == [kept.receipt_id]
    assert list(again.tmp.iterdir()) == []


def test_two_processes_cannot_share_a_spool(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    with pytest.raises(ConfigurationError, match="another process"):
        Spool(tmp_path)
    first.close()


def test_abandoned_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    incoming = spool.begin()
    spool.write(incoming, b"x")
    spool.abandon(incoming)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / ".lock"]


def test_set_aside_keeps_bytes_and_reason(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    incoming = spool.begin()
    spool.write(incoming, b"not dicom")
    spool.set_aside(incoming, reason="truncated", told={"status": "C000"})
    target = spool.quarantine / incoming.receipt_id
    assert target.read_bytes() == b"not dicom"
    note = json.loads(target.with_suffix(".json").read_text())
    assert note["reason"] == "truncated"
    assert spool.waiting() == []


def test_a_failed_sync_is_never_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    incoming = spool.begin()
    spool.write(incoming, b"x")

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(SpoolFailed, match="restart"):
        spool.commit(incoming)
    spool.abandon(incoming)
    monkeypatch.undo()
    assert spool.failed
    assert spool.waiting() == []
    with pytest.raises(SpoolFailed):
        spool.begin()


def test_a_failed_directory_sync_leaves_no_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    incoming = spool.begin()
    spool.write(incoming, b"x")

    def broken(_: OpenDirectory) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OpenDirectory, "sync", broken)
    with pytest.raises(SpoolFailed):
        spool.commit(incoming)
    spool.abandon(incoming)
    assert spool.waiting() == []


def test_an_altered_file_is_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    incoming = spool.begin()
    spool.write(incoming, a_file("1.2.3"), encode(a_data_set())[:-3])
    spool.commit(incoming)
    with pytest.raises(Unreadable):
        spool.read_receipt(incoming.receipt_id)


def test_directory_syncs_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = GroupSync(OpenDirectory(tmp_path))
    calls: list[int] = []
    first_began, release = threading.Event(), threading.Event()

    def slow(_: OpenDirectory) -> None:
        calls.append(1)
        first_began.set()
        release.wait(LIMIT)

    monkeypatch.setattr(OpenDirectory, "sync", slow)
    leader = threading.Thread(target=group.sync)
    leader.start()
    assert first_began.wait(LIMIT)
    others = [threading.Thread(target=group.sync) for _ in range(20)]
    for thread in others:
        thread.start()
    while group._wanted < 21:
        pass
    release.set()
    for thread in (leader, *others):
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert len(calls) == 2
