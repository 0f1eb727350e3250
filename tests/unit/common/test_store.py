"""The store on a file system, where the spool is on another volume and every relay is process 1."""

import os
import threading
from pathlib import Path

from darkroom_common.objects.store import FileSystemStore


def test_two_relays_copying_one_object_leave_it_whole(tmp_path: Path) -> None:
    target = tmp_path / "object.dcm"
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    os.mkfifo(slow)
    quick.write_bytes(b"whole object")
    copying = threading.Thread(target=FileSystemStore._copy, args=(slow, target))
    copying.start()
    with slow.open("wb", buffering=0) as feed:  # returns when the copy has begun to read
        feed.write(b"whole ")
        FileSystemStore._copy(quick, target)
        assert target.read_bytes() == b"whole object"
        feed.write(b"object")
    copying.join(timeout=10)
    assert target.read_bytes() == b"whole object"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["object.dcm", "quick", "slow"]
