"""The audit log as CSV (RFC 4180), safe to open in a spreadsheet."""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from darkroom_api.audit.query import AuditItem, AuditSearch, every, shown
from darkroom_api.exports.table import no_formula
from darkroom_common.postgres.pool import Database

COLUMNS: Final = tuple(AuditItem.model_fields)


def _cell(value: Any) -> str:
    return "" if value is None else no_formula(str(value))


async def rows(database: Database, asked: AuditSearch) -> AsyncIterator[bytes]:
    """Return the rows of a search with a line of titles, without what identifies patients.

    The titles come with the first rows: nothing is sent of a search that fails at once.

    Raises:
        DependencyUnavailable, Unstorable: as the database.
    """
    titles = [list(COLUMNS)]
    async for found in every(database, asked):
        items = [shown(row, None).model_dump(mode="json") for row in found]
        for item in items:
            item["details"] = json.dumps(item["details"], ensure_ascii=False)
        yield _lines(titles + [[_cell(item[name]) for name in COLUMNS] for item in items])
        titles = []
    if titles:
        yield _lines(titles)


def _lines(values: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(values)
    return text.getvalue().encode()
