"""Kills a process of ingest at a named point of the write path, from outside its code.

Python imports this at the start of every process that has this directory in `PYTHONPATH`. When the
file that `CHAOS_PLAN` names holds the name of a point, the first process that passes that point
takes the file away and ends itself by SIGKILL, there and then.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLAN = os.environ.get("CHAOS_PLAN", "")


def passes(point: str) -> None:
    """Die here if it is planned."""
    try:
        with open(PLAN, encoding="ascii") as plan:  # noqa: PTH123 - few calls on the hot path
            if plan.read() != point:
                return
        os.rename(PLAN, f"{PLAN}.done")  # noqa: PTH104 - one process wins
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def around(owner: Any, name: str, *, before: str = "", after: str = "") -> None:
    """Have calls of a function pass points before and after."""
    real: Callable[..., Any] = getattr(owner, name)

    def passing(*arguments: Any, **named: Any) -> Any:
        if before:
            passes(before)
        result = real(*arguments, **named)
        if after:
            passes(after)
        return result

    setattr(owner, name, passing)


def around_coroutine(owner: Any, name: str, *, after: str) -> None:
    """Have calls of a coroutine function pass a point when they have returned."""
    real: Callable[..., Any] = getattr(owner, name)

    async def passing(*arguments: Any, **named: Any) -> Any:
        result = await real(*arguments, **named)
        passes(after)
        return result

    setattr(owner, name, passing)


def prepare_worker() -> None:
    """The points of receiving."""
    from darkroom_common.objects import spool  # noqa: PLC0415
    from darkroom_ingest import association, receive, reports  # noqa: PLC0415

    around(spool.Spool, "begin", after="after-begin")
    around(spool.Spool, "write", after="mid-write")
    around(os, "fdatasync", before="before-fsync", after="after-fsync")
    around(Path, "rename", after="after-rename")
    around(spool, "sync_directory", before="before-directory-fsync", after="after-directory-fsync")
    around(reports.Reporter, "tell", before="before-report")
    around(receive.Reception, "finish", after="before-answer")
    around(association.StoreAssociation, "_answer", after="after-answer")


def prepare_main() -> None:
    """The points of the relay; and no patience between two starts of a worker."""
    from darkroom_common.amqp import rabbitmq  # noqa: PLC0415
    from darkroom_common.objects import spool, store  # noqa: PLC0415
    from darkroom_ingest import workers  # noqa: PLC0415

    around_coroutine(store.FileSystemStore, "put_files", after="relay-after-put")
    around_coroutine(rabbitmq.RabbitBroker, "publish_all", after="relay-after-publish")
    around(spool.Spool, "remove", before="relay-before-remove", after="relay-after-remove")
    workers._LAST_DELAY = workers._DELAY  # type: ignore[misc]


def prepare_metadata() -> None:
    """The points of the indexer."""
    from darkroom_metadata import indexer, repository  # noqa: PLC0415

    around_coroutine(repository.IndexRepository, "add", after="index-before-commit")
    around_coroutine(indexer.Indexer, "index", after="index-before-acknowledge")


if PLAN and "darkroom_ingest.worker" in sys.orig_argv:
    prepare_worker()
elif PLAN and "darkroom_ingest" in sys.orig_argv:
    prepare_main()
elif PLAN and "darkroom_metadata" in sys.orig_argv:
    prepare_metadata()
