"""`python -m tests.support.dying_backup URL STORE BACKUPS KEY_FILE OPENED`: a backup that dies.

The process is killed when it opens an object for the OPENED-th time.
"""

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

from darkroom_common.objects.store import FileSystemStore
from darkroom_local.recovery.archive import Archive
from darkroom_local.recovery.backup import Source, back_up


class DyingStore(FileSystemStore):
    """A store whose reader is killed."""

    def __init__(self, root: Path, last: int) -> None:
        super().__init__(root)
        self._count = itertools.count(1)
        self._last = last

    def open_now(self, key: str) -> BinaryIO:
        if next(self._count) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open_now(key)


def main() -> None:
    url, store, backups, key_file, opened = sys.argv[1:]
    source = Source(url, DyingStore(Path(store), int(opened)), {})
    archive = Archive.open(Path(backups), Path(key_file))
    back_up(source, archive, keep=1, progress=lambda _done, _total: None)


if __name__ == "__main__":
    main()
