"""Which values occur among studies, without a look at each study.

The sets of values that studies have are few, and an index has them in order: each step asks for
the first one behind the last.
"""

from typing import Final, Literal

from darkroom_common.postgres.pool import Connection
from darkroom_common.postgres.statement import statement

_SETS: Final = (  # study_source_sets, study_modality_sets, and the same of study_beside
    "WITH RECURSIVE sets AS ((SELECT {column} AS kept FROM index.study WHERE status <> 'deleted'"
    "  ORDER BY {column} LIMIT 1)"
    " UNION ALL SELECT (SELECT s.{column} FROM index.study s WHERE s.status <> 'deleted'"
    "  AND s.{column} > sets.kept ORDER BY s.{column} LIMIT 1) FROM sets"
    "  WHERE sets.kept IS NOT NULL)"
    " SELECT DISTINCT value FROM (SELECT kept FROM sets WHERE kept IS NOT NULL LIMIT 5000) AS found"
    " CROSS JOIN LATERAL unnest(found.kept) AS value ORDER BY value LIMIT 1000"
)


async def values_occurring(
    db: Connection, column: Literal["calling_ae_titles", "modalities"]
) -> list[str]:
    """Return the values of studies that are not deleted: up to 1000, sorted."""
    return [row[0] for row in await db.fetch(statement(_SETS, column=column))]
