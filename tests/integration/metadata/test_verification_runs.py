"""Runs of verification beside each other, and beside what is deleted meanwhile."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from darkroom_common.postgres.outbox import Outbox
from darkroom_metadata.verification.expected import next_rows
from darkroom_metadata.verification.judgement import Check, Finding, FindingKind
from darkroom_metadata.verification.ledger import DUE, Ledger, Looked
from tests.integration.metadata.test_indexer import indexing
from tests.integration.metadata.test_verification import Archive
from tests.support.database import Prepared


@pytest.fixture
async def archive(superuser_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    prepared = await Prepared.make(superuser_url, "metadata")
    root = tmp_path / "objects"
    root.mkdir()
    async with indexing(prepared, root) as bench:
        yield Archive(bench, root)


async def test_an_operators_run_gives_up_other_operators_runs_and_no_scheduled_one(
    archive: Archive,
) -> None:
    await archive.filled(2)
    ledger = Ledger(Outbox("index"))
    scopes = (DUE, "since 2020-01-01T00:00:00+00:00")
    async with archive.bench.indexer.database.acquire() as db:
        for scope in scopes:
            await ledger.open(db, Check.ROWS, scope, age=timedelta(0))
        await ledger.open(db, Check.CONTENTS, scopes[1], age=timedelta(0))
    await archive.verify()
    rows = await archive.bench.prepared.fetch(
        "SELECT kind, scope, state FROM index.verification_run"
    )
    assert {tuple(row) for row in rows} == {
        ("rows", DUE, "running"),
        ("rows", scopes[1], "abandoned"),
        ("rows", "all", "finished"),
        ("objects", "all", "finished"),
        ("contents", scopes[1], "running"),
    }


async def test_an_object_that_was_deleted_while_it_was_looked_for_is_not_missing(
    archive: Archive,
) -> None:
    await archive.filled(2)
    ledger = Ledger(Outbox("index"))
    async with archive.bench.indexer.database.acquire() as db:
        run = await ledger.open(db, Check.ROWS, DUE, age=timedelta(0))
        deleted, lost = await next_rows(db, run, 2)
        await archive.bench.prepared.fetch(
            "DELETE FROM index.instance WHERE id = $1", deleted.row_id
        )
        findings = tuple(
            Finding(FindingKind.MISSING, one.object_key, expected=one) for one in (deleted, lost)
        )
        _, fresh = await ledger.save(db, run, Looked("", 2, findings=findings))
    assert [one.object_key for one in fresh] == [lost.object_key]
    assert await archive.open_findings() == {(lost.object_key, "missing-object")}
