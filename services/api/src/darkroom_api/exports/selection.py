"""Which studies an export has: those that the search finds with the same filters."""

from typing import Any, Final

from darkroom_api.exports.making import Select
from darkroom_api.studies.examinations import Examinations
from darkroom_api.studies.search import StudyFilters, query_of
from darkroom_common.index.reader import IndexReader
from darkroom_common.postgres.pool import Database

_NOTHING: Final = "SELECT NULL::bigint AS id WHERE false"


def selection(reader: IndexReader, exams: Examinations, database: Database) -> Select:
    """Return what makes a statement of filters."""

    async def select(filters: Any) -> tuple[str, list[Any]]:
        query = await query_of(StudyFilters.model_validate(filters), exams, database)
        return (_NOTHING, []) if query is None else reader.ids(query)

    return select
