"""Runs of characters of what cannot be read: it keeps nobody else's from being written."""

from structlog.testing import capture_logs

from darkroom_metadata.studies.infix import InfixRuns
from tests.integration.metadata.test_indexer import BLIND, KEYS, Bench, bench
from tests.support.builders import a_data_set

__all__ = ["bench"]


async def test_a_study_that_cannot_be_decrypted_is_left_alone(bench: Bench) -> None:
    for name in ("Quarry^Zoe", "Other^Body", "Equal^Ann"):
        await bench.index(bench.stored(a_data_set(PatientName=name)))
    rows = [row[0] for row in await bench.prepared.fetch("SELECT id FROM index.study ORDER BY id")]
    spoil = "UPDATE index.study SET phi = set_byte(phi, 40, get_byte(phi, 40) # 255) WHERE id = $1"
    await bench.prepared.fetch(spoil, rows[1])
    runs = InfixRuns(bench.indexer.database, KEYS, BLIND)
    with capture_logs() as told:
        assert await runs.fill() == rows
        assert await runs.fill() == [rows[1]]
    named = [one["study_row"] for one in told if one["event"] == "infix.unreadable"]
    assert named == [rows[1]], "once, however often it is come by"
    due = await bench.prepared.fetch("SELECT study_id FROM index.infix WHERE due")
    assert [row[0] for row in due] == [rows[1]]
