"""Reads the index: searches, headers, and where objects are. Keys go to SQL as bind parameters."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import asyncpg

from darkroom_common.errors import DependencyUnavailable, TransientError
from darkroom_common.index.conflicts import Conflict, read_conflict
from darkroom_common.index.fields import Level
from darkroom_common.index.matching.guesses import Guesses
from darkroom_common.index.matching.rare import among_rare
from darkroom_common.index.matching.windows import Days, undated, window_of
from darkroom_common.index.pages import COUNT_CAP, rung_of
from darkroom_common.index.query import Query
from darkroom_common.index.results import all_found, columns_of
from darkroom_common.index.rows import (
    ConflictRow,
    Page,
    PatientRow,
    Patients,
    StoredInstance,
    StudyRow,
    UnreadableRow,
    attributes_of,
    readable,
)
from darkroom_common.index.sql import Builder
from darkroom_common.postgres.listing import estimate
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_common.postgres.pool import Database
from darkroom_common.together import Together

HEADER_BATCH: Final = 50
HEADER_READERS: Final = 3
_MOST_PATIENTS: Final = 100
"""Of one study UID that are looked at."""
SEARCH_SECONDS: Final = 5.0
"""For a statement of a search, its plan included."""
MANY: Final = COUNT_CAP
"""Matches that one statement looks at and counts; of more, a page is found sooner by its date."""
WITHIN: Final = 4_000
"""Of the newest studies, gone through before those that match are looked for in another way."""
FAR: Final = 1_000
"""Results before a page from which on it is dear to go through all that have no word of it."""
MANY_FAR: Final = 200_000
"""What `MANY` is for such a page."""
LISTED_WITHIN: Final = 20_000
"""The same of rows of `index.listing`, which say more sooner."""
HOP: Final = 10_000
"""Results that are passed over by one statement."""
_LAST_ROW: Final = 2**63 - 1
PATIENT: Final = (  # study_patient
    "s.id, pgp_sym_decrypt_bytea(s.phi, ($1::text[])[s.phi_key]) AS phi, (SELECT"
    " ARRAY[count(*), sum(o.series_count), sum(o.instance_count)]::bigint[] FROM index.study o"
    " WHERE o.patient_id = s.id AND o.status <> 'deleted') AS related"
)
_STORED: Final = (
    "SELECT i.id, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid,"
    " i.sop_class_uid, i.transfer_syntax_uid, i.object_key, i.size, i.data_set_offset, i.sha256,"
    " i.pixel_rows, i.pixel_columns, i.bits_allocated, i.number_of_frames, i.xmin::text::bigint,"
    " CASE WHEN octet_length(i.frame_places) <= 12 THEN i.frame_places END"  # of one frame
)
_WHERE_STORED: Final = (
    f"{_STORED} FROM index.study s JOIN index.series e ON e.study_id = s.id"
    " JOIN index.instance i ON i.series_id = e.id WHERE s.status <> 'deleted'"
)
_UIDS: Final = ("s.study_instance_uid", "e.series_instance_uid", "i.sop_instance_uid")
# By instance_sop_instance_uid_key, one by one: LIMIT keeps the planner from reading the tables.
_ASKED: Final = (
    "SELECT found.* FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY"
    " AS asked (study, series, instance, place) LEFT JOIN LATERAL ("
)
_EACH: Final = (
    " AND i.sop_instance_uid = asked.instance AND e.series_instance_uid = asked.series"
    " AND s.study_instance_uid = asked.study LIMIT 1) AS found ON true ORDER BY asked.place"
)
_EACH_STORED: Final = _ASKED + _WHERE_STORED + _EACH
_ONE_INSTANCE: Final = _WHERE_STORED + " AND i.sop_instance_uid = $1"
_STORED_ORDER: Final = " ORDER BY e.series_number, e.id, i.instance_number, i.id"
_Uids = tuple[str, str, str]


class SearchTooLong(TransientError):
    """A search has taken longer than it may; `wide` names what it asks for that no index knows."""

    def __init__(self, reason: str, wide: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.wide = tuple(wide)


class IndexReader:
    """Every read of schema `index` that answers people and programs.

    Raises (all methods):
        DependencyUnavailable: the database is away.
        UnreadableRow: PHI_KEYS does not hold a row's key.
    """

    def __init__(self, database: Database, *, keys: PhiKeys, blind: BlindIndex) -> None:
        self._database = database
        self._keys = keys
        self._passphrases = keys.by_id()
        self._blind = blind
        self._guesses = Guesses(self._planned)
        self._days = Days(partial(self._search, Query(Level.STUDY)))
        self._instances = Together[_Uids, StoredInstance | None](self._each_stored)

    async def search(self, query: Query) -> Page:
        """Return one page of results, with the total as far as it is counted.

        Raises:
            SearchTooLong: all its statements together take longer.
        """
        try:
            async with asyncio.timeout(SEARCH_SECONDS):
                return await self._searched(query)
        except TimeoutError as error:
            wide = Builder(query, keys=self._keys, blind=self._blind).wide
            raise SearchTooLong(f"more than {SEARCH_SECONDS:g} s", wide) from error

    async def _searched(self, query: Query) -> Page:
        if query.limit <= 0:
            return Page([], more=False, total=await self.count(query))
        guess = 0 if query.is_pointed else await self.guessed(query)
        rows, total, better = await self._page(replace(query, limit=query.limit + 1), guess)
        if better > guess:
            guess = self._guesses.keep(query, better)
        more = len(rows) > query.limit
        results = all_found(query, rows[: query.limit])
        if not more and query.after is None and (results or query.offset == 0):
            total = query.offset + len(results)
        if total is None and guess <= COUNT_CAP:  # what may be few is counted
            total = await self.count(query)
        end = rows[: query.limit][-1] if more else None
        day = "ordered" if query.by_order else "study_date"
        last = None if end is None else (end[day], end["study_id"])
        return Page(results, more=more, total=total, guess=max(COUNT_CAP + 1, guess), last=last)

    async def _page(self, query: Query, guess: int) -> tuple[list[asyncpg.Record], int | None, int]:
        """Return the rows of a page, how many match as far as that is known, and a better guess.

        Few matches are found by whatever index knows them, many by going through the newest. Which
        are few is guessed: where that turns out wrong, the other way is gone.
        """
        if query.is_open and (rung := rung_of(query)):
            rows, total = await self._newest(query, rung, counted=guess <= COUNT_CAP)
            if total is not None and total > COUNT_CAP:
                total, guess = None, COUNT_CAP + 1
            if len(rows) == query.limit or (total and query.offset + len(rows) == total):
                return rows, total, guess
        narrow = Builder(query, keys=self._keys, blind=self._blind).is_narrow
        most = MANY_FAR if query.offset > FAR and not query.is_listed else MANY
        tried = 0
        if guess < most and narrow:
            if (counted := await self._counted(query, most)) is not None:
                return *counted, guess
            tried, guess = most, most + 1
        if query.level is Level.STUDY and query.offset <= HOP:
            rows = await self._latest(query, guess, narrow=narrow)
            if len(rows) == query.limit:
                return rows, None, guess
            if narrow and tried < MANY_FAR:
                if (counted := await self._counted(query, MANY_FAR)) is not None:
                    return *counted, guess
                guess = max(guess, MANY_FAR + 1)
        return await self._walked(query), None, guess

    async def _newest(
        self, query: Query, rung: int, *, counted: bool
    ) -> tuple[list[asyncpg.Record], int | None]:
        """Return the rows of a page of all there is, and the number of all if that is `counted`."""
        columns, bound = columns_of(query, self._passphrases)
        builder = Builder(query, keys=self._keys, blind=self._blind)
        sql, values = builder.newest(columns, bound, rung=rung, counted=counted)
        rows = await self._search(query, sql, values, alike=True)
        return rows, rows[0]["matched"] if rows else None

    async def _counted(self, query: Query, most: int) -> tuple[list[asyncpg.Record], int] | None:
        """Return a page and the number of all matches; None when these are too many."""
        query = await among_rare(query, self.guessed, self._first_ids)
        columns, bound = columns_of(query, self._passphrases)
        builder = Builder(query, keys=self._keys, blind=self._blind)
        rows = await self._search(query, *builder.counted(columns, bound, most=most))
        if rows:
            matched: int = rows[0]["matched"]
            return (rows, matched) if matched <= most else None
        counted = await self.count(query) if query.offset or query.after else 0
        return None if counted is None or counted > most else ([], counted)

    async def _first_ids(self, query: Query, most: int) -> list[int]:
        sql, values = self.ids(query)
        return [row[0] for row in await self._search(query, f"{sql} LIMIT {most}", values)]

    async def _latest(self, query: Query, guess: int, *, narrow: bool) -> list[asyncpg.Record]:
        """Return the rows of a page, as far as they are among the newest (`matching.windows`)."""
        if narrow and not query.by_listing:
            rows: list[asyncpg.Record] | None = None
            window = window_of(query, guess, await self.guessed(undated(query)))
            while window is not None and (day := await self._days.of(window)) is not None:
                rows = (await self._counted(window.narrowed(query, day), MANY) or ([], 0))[0]
                window = None if len(rows) == query.limit else window.wider
            if rows is not None:
                return rows
        within = LISTED_WITHIN if query.is_listed else WITHIN
        return await self._walked(query, within=within + 2 * query.offset)

    async def _walked(self, query: Query, within: int | None = None) -> list[asyncpg.Record]:
        """Return the rows of a page, gone through in their order."""
        far = query.level is Level.STUDY and query.offset > HOP
        while far and query.offset:
            step = min(HOP, query.offset)
            builder = Builder(query, keys=self._keys, blind=self._blind)
            passed = await self._search(query, *builder.hop(step))
            if not passed:
                break
            query = replace(query, after=tuple(passed[0]), offset=query.offset - step)
        columns, bound = columns_of(query, self._passphrases)
        builder = Builder(query, keys=self._keys, blind=self._blind)
        rows = await self._search(query, *builder.page(columns, bound, within=within))
        dated = query.after is not None and query.after[0] is not None
        if within is None and dated and not query.offset and len(rows) < query.limit:
            # What has no date follows what has one.
            left = replace(query, after=(None, _LAST_ROW), limit=query.limit - len(rows))
            rows += await self._walked(left)
        return rows

    async def patients(self, query: Query) -> Patients:
        """Return patients with at least one study that is not deleted.

        Raises:
            SearchTooLong: see there.
        """
        builder = Builder(replace(query, limit=query.limit + 1), keys=self._keys, blind=self._blind)
        sql, values = builder.page(PATIENT, [self._passphrases])
        rows = await self._search(query, sql, values)
        more = 0 < query.limit < len(rows)
        rows = rows[: query.limit]
        found = [PatientRow(attributes_of(row["phi"]), *row["related"]) for row in rows]
        total = await self.count(query) if more or not found else query.offset + len(found)
        return Patients(found, more, total, (None, rows[-1]["id"]) if more else None)

    async def any(self, query: Query) -> bool:
        """Tell whether a search matches anything."""
        sql, values = Builder(query, keys=self._keys, blind=self._blind).matches()
        return bool(await self._search(query, f"{sql} LIMIT 1", values))

    async def count(self, query: Query) -> int | None:
        """Return the number of matches; None beyond `COUNT_CAP`."""
        sql, values = Builder(query, keys=self._keys, blind=self._blind).count()
        found: int = (await self._search(query, sql, values))[0][0]
        return found if found <= COUNT_CAP else None

    async def guessed(self, query: Query) -> int:
        """Return how many matches are expected, by the planner or by searches; it may be far off.

        Raises:
            SearchTooLong: see there.
        """
        return await self._guesses.of(query)

    async def _planned(self, query: Query) -> int:
        builder = Builder(query, keys=self._keys, blind=self._blind)
        sql, values = builder.matches()
        with _in_time(builder):
            async with self._database.acquire() as db:
                return await estimate(db, sql, values, seconds=SEARCH_SECONDS)

    def ids(self, query: Query) -> tuple[str, list[Any]]:
        """Return the statement with the row ids of all studies that match, for `studies_of`."""
        return Builder(query, keys=self._keys, blind=self._blind).ids()

    async def study(self, study_uid: str) -> StudyRow | None:
        """Return a study that is not deleted; of several patients' the one that was first."""
        page = await self.search(Query(Level.STUDY, study_uid=study_uid, limit=_MOST_PATIENTS))
        studies = [found.study for found in reversed(page.results)]  # by their ids, if all else is
        return min(studies, key=lambda study: study.created_at, default=None)

    async def stored(self, *uids: str | None) -> list[StoredInstance]:
        """Return where instances are, in order: of a study, series and instance, None being any."""
        study, series, instance = (*uids, None, None, None)[:3]
        if study is not None and series is not None and instance is not None:
            one = await self._instances.do((study, series, instance))
            return [] if one is None else [one]
        named = [(column, uid) for column, uid in zip(_UIDS, uids, strict=False) if uid is not None]
        if not named:
            return []
        sql = _WHERE_STORED + "".join(
            f" AND {column} = ${number}" for number, (column, _) in enumerate(named, 1)
        )
        values = [uid for _, uid in named]
        return [StoredInstance(*row) for row in await self._fetch(sql + _STORED_ORDER, values)]

    async def _each_stored(self, asked: Sequence[_Uids]) -> list[StoredInstance | None]:
        """Return where single instances are, for all who ask at a time."""
        rows = await self._fetch(_EACH_STORED, [list(uids) for uids in zip(*asked, strict=True)])
        return [None if row[0] is None else StoredInstance(*row) for row in rows]

    async def instance(self, sop_instance_uid: str) -> StoredInstance | None:
        """Return where an instance is (instance_sop_instance_uid_key); None when it is not."""
        rows = await self._fetch(_ONE_INSTANCE, [sop_instance_uid])
        return StoredInstance(*rows[0]) if rows else None

    async def headers(
        self, instances: Sequence[StoredInstance]
    ) -> AsyncIterator[list[tuple[StoredInstance, bytes]]]:
        """Yield batches of instances with their header as JSON text, empty where there is none.

        No connection is held while the caller sends a batch.
        """
        sql = (
            "SELECT CASE WHEN length(i.header) > 0"
            " THEN pgp_sym_decrypt_bytea(i.header, ($1::text[])[i.phi_key]) ELSE ''::bytea END"
            " FROM unnest($2::bigint[]) WITH ORDINALITY AS asked (id, place)"
            " LEFT JOIN index.instance i ON i.id = asked.id ORDER BY asked.place"
        )
        starts = range(0, len(instances), HEADER_BATCH)
        batches = [instances[start : start + HEADER_BATCH] for start in starts]
        # The server decrypts the next batches while the caller works on one.
        coming: deque[asyncio.Task[list[asyncpg.Record]]] = deque()
        try:
            for number, batch in enumerate(batches):
                for ahead in batches[number + len(coming) : number + HEADER_READERS]:
                    ids = [one.id for one in ahead]
                    coming.append(asyncio.create_task(self._fetch(sql, [self._passphrases, ids])))
                rows = await coming[0]
                coming.popleft()
                yield [(one, readable(row[0])) for one, row in zip(batch, rows, strict=True)]
        finally:
            for task in coming:
                task.cancel()
            await asyncio.gather(*coming, return_exceptions=True)

    async def conflict(self, number: int) -> Conflict | None:
        """Return a conflict with both of its sides; None when there is none."""
        try:
            async with self._database.acquire() as connection:
                return await read_conflict(connection, self._passphrases, number)
        except asyncpg.ExternalRoutineInvocationError as error:
            raise UnreadableRow("a row cannot be decrypted with PHI_KEYS") from error

    async def conflicts(self, study_uid: str, *, limit: int = 100) -> list[ConflictRow]:
        """Return the newest conflicts of a study's instances that are open."""
        rows = await self._fetch(
            "SELECT c.id::text, c.kind, i.sop_instance_uid, c.study_instance_uid,"
            " c.series_instance_uid, c.calling_ae_title, c.size, c.received_at"
            " FROM index.study s JOIN index.series e ON e.study_id = s.id"
            " JOIN index.instance i ON i.series_id = e.id"
            " JOIN index.conflict c ON c.instance_id = i.id"  # unique (instance_id, object_key)
            " WHERE s.study_instance_uid = $1 AND c.state = 'open'"
            " ORDER BY c.received_at DESC, c.id DESC LIMIT $2",
            [study_uid, limit],
        )
        return [ConflictRow(*row) for row in rows]

    async def _search(
        self, query: Query, sql: str, values: list[Any], *, alike: bool = False
    ) -> list[asyncpg.Record]:
        """Run a statement of a search, planned for its values unless all are `alike`."""
        try:
            with _in_time(Builder(query, keys=self._keys, blind=self._blind)):
                alike = alike or query.is_pointed
                lent = self._database.acquire if alike else self._database.planned
                async with lent() as db:
                    return await db.fetch(sql, *values, timeout=SEARCH_SECONDS)
        except asyncpg.ExternalRoutineInvocationError as error:
            raise UnreadableRow("a row cannot be decrypted with PHI_KEYS") from error

    async def _fetch(self, sql: str, values: list[Any]) -> list[asyncpg.Record]:
        try:
            async with self._database.acquire() as connection:
                return await connection.fetch(sql, *values)
        except asyncpg.ExternalRoutineInvocationError as error:
            raise UnreadableRow("a row cannot be decrypted with PHI_KEYS") from error


@contextmanager
def _in_time(asked: Builder) -> Iterator[None]:
    """Tell a statement of a search that was given up from a database that is away."""
    try:
        yield
    except DependencyUnavailable as error:
        if isinstance(error.__cause__, TimeoutError):
            raise SearchTooLong(f"more than {SEARCH_SECONDS:g} s", asked.wide) from error
        raise
