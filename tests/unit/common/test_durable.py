"""Whole and synced before it has its name: the store, quarantine and the copy of the roster."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.objects import directory
from darkroom_common.objects import quarantine as quarantine_module
from darkroom_common.objects.quarantine import Quarantine, _write_durably
from darkroom_common.objects.store import FileSystemStore


class Volume:
    """What is done to a volume; of a sync, how much of the file had reached it by then."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str, int]] = []

    def __call__(self, step: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def done(first: Any, *more: Any, **named: Any) -> Any:
            if step == "sync":
                name = Path(f"/proc/self/fd/{first}").readlink().name
                self.steps.append((step, name, os.fstat(first).st_size))
            else:
                self.steps.append((step, Path(first).name, 0))
            return real(first, *more, **named)

        return done


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> Volume:
    made = Volume()
    monkeypatch.setattr(os, "fsync", made("sync", os.fsync))
    monkeypatch.setattr(Path, "rename", made("rename", Path.rename))
    monkeypatch.setattr(Path, "unlink", made("unlink", Path.unlink))
    monkeypatch.setattr(
        quarantine_module, "sync_directory", made("sync directory", directory.sync_directory)
    )
    return made


def test_a_copied_object_is_synced_whole_before_it_has_its_name(
    tmp_path: Path, volume: Volume
) -> None:
    source = tmp_path / "receipt"
    source.write_bytes(b"whole object")
    FileSystemStore._copy(source, tmp_path / "object.dcm")
    assert [(step, size) for step, _, size in volume.steps] == [("sync", 12), ("rename", 0)]
    assert (tmp_path / "object.dcm").read_bytes() == b"whole object"


def test_an_object_that_is_written_in_pieces_is_synced_whole_before_it_has_its_name(
    tmp_path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileSystemStore(tmp_path)
    seen: list[bool] = []
    real = store._put

    def put(pairs: Any) -> None:
        seen.append(("sync", 12) in [(step, size) for step, _, size in volume.steps])
        real(pairs)

    monkeypatch.setattr(store, "_put", put)
    store.put_now("a/object.dcm", [b"whole ", b"object"])
    assert seen == [True]


def test_a_note_is_synced_whole(tmp_path: Path, volume: Volume) -> None:
    _write_durably(tmp_path / "note", b"{}")
    assert volume.steps == [("sync", "note", 2)]


def quarantined(root: Path) -> Quarantine:
    (root / "quarantine").mkdir()
    (root / "ready").mkdir()
    (root / "quarantine" / ("0" * 32)).write_bytes(b"old head, object")
    (root / "quarantine" / f"{'0' * 32}.json").write_text("{}")
    return Quarantine(root / "quarantine", None)


ID = "0" * 32


def test_a_new_head_is_synced_whole_before_it_stands_for_the_old_one(
    tmp_path: Path, volume: Volume
) -> None:
    made = quarantined(tmp_path)
    made.replace_head(ID, b"new head,", offset=9)
    path = tmp_path / "quarantine" / ID
    assert path.read_bytes() == b"new head, object"
    assert [(step, size) for step, _, size in volume.steps[:3]] == [
        *(("sync", 16), ("rename", 0), ("sync directory", 0))
    ]


def test_what_is_released_is_ready_for_good_before_its_note_goes(
    tmp_path: Path, volume: Volume
) -> None:
    quarantined(tmp_path).release(ID, tmp_path / "ready")
    assert [(step, name) for step, name, _ in volume.steps if step != "sync"] == [
        *(("rename", ID), ("sync directory", "ready")),
        *(("unlink", f"{ID}.json"), ("sync directory", "quarantine")),
    ]


def test_what_is_discarded_is_gone_for_good(tmp_path: Path, volume: Volume) -> None:
    quarantined(tmp_path).discard(ID)
    assert [(step, name) for step, name, _ in volume.steps if step != "sync"] == [
        *(("unlink", ID), ("unlink", f"{ID}.json"), ("sync directory", "quarantine"))
    ]
