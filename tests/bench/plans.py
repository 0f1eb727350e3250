"""What PostgreSQL reads for a request: the rows that its plans touch, and whether by an index."""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from tests.support.waiting import until

SETTINGS: Final = {
    "shared_preload_libraries": "auto_explain",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_parameter_max_length": "0",
}
_PLAN: Final = re.compile(r"@\w+ LOG: +duration: [\d.]+ ms +plan:\n((?:\t.*\n)+)")
_LARGE: Final = ("study", "series", "instance", "patient")


@dataclass(frozen=True)
class Read:
    """What was read of the index: rows, and which of its large tables whole."""

    statements: int
    rows: int
    whole: frozenset[str]


async def reads(
    connection: "asyncpg.Connection[Any]", log: Path, ask: Callable[[], Awaitable[object]]
) -> Read:
    """Return what PostgreSQL reads for a request, which is made until its plans are in the log."""
    found: list[Read] = []

    async def seen() -> bool:
        start = log.stat().st_size
        await ask()
        found.append(_read_since(log, start))
        return found[-1].statements > 0 and found[-1] in found[:-1]  # whole, not half of it

    await _explain(connection, 0)
    try:
        await until(seen, "the same plans twice")
    finally:
        await _explain(connection, -1)
    return found[-1]


async def _explain(connection: "asyncpg.Connection[Any]", least: int) -> None:
    await connection.execute(f"ALTER SYSTEM SET auto_explain.log_min_duration = {least}")
    await connection.execute("SELECT pg_reload_conf()")


def _read_since(log: Path, start: int) -> Read:
    """Return what the plans behind a byte of the log have read."""
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", "replace")
    rows, whole = 0, set()
    plans = [json.loads(logged)["Plan"] for logged in _PLAN.findall(text)]
    counted = [plan for plan in plans if "Actual Rows" in plan]  # not those that had begun before
    for plan in counted:
        for node in _nodes(plan):
            if node.get("Relation Name") in _LARGE and node.get("Schema", "index") == "index":
                removed = node.get("Rows Removed by Filter", 0)
                removed += node.get("Rows Removed by Index Recheck", 0)
                rows += round((node["Actual Rows"] + removed) * node["Actual Loops"])
                if node["Node Type"] == "Seq Scan":
                    whole.add(node["Relation Name"])
    return Read(len(counted), rows, frozenset(whole))


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
