"""Kills a process of a service at a named point of its work, from outside its code.

Python imports this at the start of every process that has this directory in `PYTHONPATH`. When the
file that `CHAOS_PLAN` names holds the name of a point, the first process that passes that point
takes the file away and ends itself by SIGKILL, there and then. `point:3` is the third passage. The
plan is asked for at the point: what imports this may only have the services forked that are killed.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

_passed: Counter[str] = Counter()


def the_plan() -> str:
    """The file that says where to die."""
    return os.environ.get("CHAOS_PLAN", "")


def is_next(point: str) -> bool:
    """Count a passage; tell whether it is the one to die at."""
    try:
        with open(the_plan(), encoding="ascii") as plan:
            planned, _, number = plan.read().partition(":")
    except FileNotFoundError:
        return False
    if planned != point:
        return False
    _passed[point] += 1
    return _passed[point] >= int(number or 1)


def die() -> None:
    """Die here, unless another process just does."""
    try:
        os.rename(the_plan(), f"{the_plan()}.done")
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def passes(point: str) -> None:
    """Die here if it is planned."""
    if is_next(point):
        die()


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


def around_coroutine(owner: Any, name: str, *, before: str = "", after: str = "") -> None:
    """Have calls of a coroutine function pass points before, and when they have returned."""
    real: Callable[..., Any] = getattr(owner, name)

    async def passing(*arguments: Any, **named: Any) -> Any:
        if before:
            passes(before)
        result = await real(*arguments, **named)
        if after:
            passes(after)
        return result

    static = isinstance(vars(owner).get(name), staticmethod)
    setattr(owner, name, staticmethod(passing) if static else passing)


def prepare_worker() -> None:
    """The points of receiving."""
    from darkroom_common.dimse import serving
    from darkroom_common.objects import directory, spool
    from darkroom_ingest.door import reports
    from darkroom_ingest.receiving import receive

    around(spool.Spool, "begin", after="after-begin")
    around(spool.Spool, "write", after="mid-write")
    around(os, "fdatasync", before="before-fsync", after="after-fsync")
    kept = directory.OpenDirectory
    around(kept, "move", after="after-rename")
    around(kept, "sync", before="before-directory-fsync", after="after-directory-fsync")
    around(reports.Reporter, "tell", before="before-report")
    around(receive.Reception, "finish", after="before-answer")
    around(serving.Served, "_send", after="after-answer")


def prepare_main() -> None:
    """The points of the relay, and of each worker; no patience between two starts of one."""
    from darkroom_common.amqp import rabbitmq
    from darkroom_common.objects import spool, store
    from darkroom_ingest.door import worker, workers
    from darkroom_ingest.orders import orders

    receive: Callable[..., None] = worker.run

    def run(*arguments: Any) -> None:
        prepare_worker()
        receive(*arguments)

    around_coroutine(store.FileSystemStore, "put_files", after="relay-after-put")
    around_coroutine(rabbitmq.RabbitBroker, "publish_all", after="relay-after-publish")
    around_coroutine(orders.Orders, "_done", before="order-before", after="order-before-commit")
    around_coroutine(orders.Orders, "message", after="order-before-answer")
    around(spool.Spool, "remove", before="relay-before-remove", after="relay-after-remove")
    workers._LAST_DELAY = workers._DELAY  # type: ignore[misc]
    worker.run = run  # type: ignore[assignment]


def prepare_metadata() -> None:
    """The points of the indexer."""
    from darkroom_metadata.indexing import indexer, repository

    around_coroutine(repository.IndexRepository, "add", after="index-before-commit")
    around_coroutine(indexer.Indexer, "index", after="index-before-acknowledge")


def prepare_transmit() -> None:
    """The points of sending and of storage commitment."""
    from darkroom_common.dimse import requestor
    from darkroom_transmit.commitment import asked, reporting
    from darkroom_transmit.commitment import commitments as commitment
    from darkroom_transmit.commitment import dimse as commitment_dimse
    from darkroom_transmit.commitment import repository as committed
    from darkroom_transmit.sending import repository, scu

    user_class: Any = scu.StoreUser
    put: Callable[..., Any] = user_class._put

    def half_put(user: Any, deadline: float, command: bytes, chunk: memoryview) -> None:
        if is_next("store-mid-pdu"):
            put(user, deadline, command, chunk[: len(chunk) // 2])
            die()
            return
        put(user, deadline, command, chunk)

    user_class._put = half_put
    around(
        requestor.Association,
        "response",
        before="store-before-response",
        after="store-after-response",
    )
    jobs, commitments = repository.SendJobs, commitment.Commitments
    around_coroutine(jobs, "add", after="job-before-commit")
    around_coroutine(jobs, "claimed", after="claim-before-commit")
    around_coroutine(jobs, "record", before="record-before", after="record-before-commit")
    around_coroutine(jobs, "progress", before="finish-before")
    around_coroutine(jobs, "finished", after="finish-before-commit")
    around_coroutine(commitments, "sent", before="finish-after-commit")
    around_coroutine(commitments, "_request", before="action-before-request")
    around(
        commitment_dimse._Asking,
        "await_response",
        before="action-after-request",
        after="action-after-response",
    )
    around(commitment_dimse, "_settled", before="report-before-settling")
    around_coroutine(committed.CommitmentJobs, "committed", after="report-before-commit")
    around(commitment_dimse, "_event_type", before="report-before-answer")
    around_coroutine(commitments, "_again", before="loss-before-commit")
    promised = asked.AskedCommitments
    around_coroutine(promised, "take", before="take-before", after="take-after-commit")
    around_coroutine(promised, "found", before="found-before", after="found-before-commit")
    around(reporting, "_report_on", before="told-before", after="told-after")


def prepare_print() -> None:
    """The points around the N-ACTION that makes film."""
    from darkroom_common.dimse.users import normalized
    from darkroom_common.dimse.wire import command
    from darkroom_common.jobs import table
    from darkroom_print.printing import print_scu, repository

    user_class: Any = normalized.NormalizedUser
    answer: Callable[..., Any] = user_class._answer

    def asked(user: Any, message_id: int, field: int, instance: str) -> Any:
        if field == command.CommandField.N_ACTION:
            passes("action-asked")
        return answer(user, message_id, field, instance)

    user_class._answer = asked
    around(print_scu.PrintAssociation, "act", before="action-before", after="action-answered")
    jobs = repository.PrintJobs
    around_coroutine(jobs, "acting", before="acting-before", after="acting-before-commit")
    around_coroutine(jobs, "printed", before="printed-before", after="printed-before-commit")
    around(print_scu.PrintAssociation, "forget", before="printed-after-commit")
    around_coroutine(table.JobTable, "finish", before="finish-before", after="finish-before-commit")


if "darkroom_ingest" in sys.orig_argv:
    prepare_main()
elif "darkroom_metadata" in sys.orig_argv:
    prepare_metadata()
elif "darkroom_transmit" in sys.orig_argv:
    prepare_transmit()
elif "darkroom_print" in sys.orig_argv:
    prepare_print()
