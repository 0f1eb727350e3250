"""A directory for files that a process works with, gone with it: they hold patients' images."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)


@asynccontextmanager
async def open_scratch(base: Path, *, prefix: str) -> AsyncIterator[Path]:
    """Hold a new directory below `base`, mode 0700, for the length of a block.

    Those of processes that died, by their prefix, are removed first.
    """
    mine, lock = await asyncio.to_thread(_claim, base, prefix)
    try:
        yield mine
    finally:
        await asyncio.to_thread(shutil.rmtree, mine, ignore_errors=True)
        os.close(lock)


def _claim(base: Path, prefix: str) -> tuple[Path, int]:
    """Return a directory of this process alone, and the lock that says so."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in base.glob(f"{prefix}*"):
        try:
            descriptor = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
        except BlockingIOError:
            log.debug("scratch.in_use", directory=old.name)
        finally:
            os.close(descriptor)
    mine = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    lock = os.open(mine, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return mine, lock
