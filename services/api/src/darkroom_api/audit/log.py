"""The audit log in the database: rows go in, in the transaction of what they tell of.

Nothing here, and nothing that the service's role may do, changes or removes one.
"""

import uuid
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from darkroom_api.audit.actions import SECURITY
from darkroom_api.audit.entries import AuditKeys, Entry, Row, row_of
from darkroom_common.clock import Clock
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.index.rows import HOLDS, UNCHANGED, StoredInstance, Versions
from darkroom_common.postgres.pool import Connection, after_commit
from darkroom_common.seal import Seal
from darkroom_common.telemetry.logs import get_logger

log = get_logger("darkroom.security")

PURPOSE: Final = "audit"
"""What PHI of rows is sealed for."""
_APART: Final = timedelta(microseconds=1)
"""Between rows that are written at once, so that they keep their order."""
_KEPT_IN_MIND: Final = 100_000
_ASKED: Final = """
    WITH added AS (
        INSERT INTO api.audit_log (log_id, recorded_at, user_id, username, action, resource_type,
            resource_id, ip_address, user_agent, privileged, outcome, details, phi, key_id, mac)
        SELECT $1::uuid, $2::timestamptz, $3::text, $4::text, $5::text, $6::text, $7::text,
            $8::inet, $9::text, $10::boolean, $11::text, $12::json, $13::bytea, $14::smallint,
            $15::bytea
        FROM (SELECT $16::bigint, $17::bigint, $18::text, $19::text, $20::text, $21::bigint[],
            $22::bigint[]) AS asked (instance, written, series, study, uid, studies, of_series)
        WHERE """
_ADDED: Final = """
        RETURNING log_id
    )
    INSERT INTO api.audit_pending (log_id) SELECT log_id FROM added RETURNING log_id
"""
_ADD: Final = _ASKED + "true" + _ADDED
_HOLDS: Final = f"(instance IS NULL OR {HOLDS})"
_ADD_OF: Final = _ASKED + _HOLDS + _ADDED
_ADD_FOUND: Final = f"{_ASKED}{_HOLDS} AND (uid IS NULL OR {UNCHANGED}){_ADDED}"
"""A row, and the note that the chain has not got it yet; unless it tells of what holds no more.

With a statement for each row, sent together, one row costs the database an eighth of what it does
in a statement that takes arrays of them, and twenty the same.
"""
Claim = StoredInstance | Versions
"""What was looked up before, and is shown as long as the index still has it so."""
_OF_NO_INSTANCE: Final = (None, None, None, None)
_OF_NO_SEARCH: Final = (None, None, None)


class AuditLog:
    """Writes rows.

    Args:
        keys: of the codes.
        seal: for what identifies a patient.
        clock: for their time.

    Attributes:
        written: the last rows that were committed, for whoever wants to see them again.
        handed: how many were handed over to be written, and again when they were committed.
    """

    def __init__(self, keys: AuditKeys, seal: Seal, clock: Clock) -> None:
        self._keys = keys
        self._seal = seal
        self._clock = clock
        self.written: deque[uuid.UUID] = deque(maxlen=_KEPT_IN_MIND)
        self.handed = 0

    async def add(self, db: Connection, entries: Sequence[Entry]) -> None:
        """Write rows, which are there when the transaction commits.

        Raises:
            DependencyUnavailable: the database is away, or keeps fewer than these.
        """
        rows = self.rows(entries)
        await self.write(db, rows)
        after_commit(db, lambda: self.remember(rows))

    def rows(self, entries: Sequence[Entry]) -> list[Row]:
        """Return the rows of what is done now, for `write`."""
        now = self._clock.now()
        return [row_of(entry, now + n * _APART) for n, entry in enumerate(entries)]

    def remember(self, rows: Sequence[Row]) -> None:
        """Keep in mind rows that are committed."""
        self.written.extend(row.log_id for row in rows)
        self.handed += len(rows)

    async def write(
        self, db: Connection, rows: Sequence[Row], of: Sequence[Claim | None] = ()
    ) -> set[uuid.UUID]:
        """Write rows that are not there, and return their ids; see `add`, which keeps them in mind.

        Args:
            db: with or without a transaction: all of them are written, or none.
            rows: see there.
            of: for each row what was looked up; a row is written as long as that still holds.
                None, or nothing at all: it is written.

        Raises:
            DependencyUnavailable: the database is away, or keeps fewer than these.
        """
        self.handed += len(rows)
        for row in rows:
            if row.action in SECURITY:
                after_commit(db, partial(_tell, row))
        claims = list(of) or [None] * len(rows)
        kept = await db.fetchmany(_adding(claims), list(map(self._values, rows, claims)))
        written = {row["log_id"] for row in kept}
        if any(
            one is None and row.log_id not in written for row, one in zip(rows, claims, strict=True)
        ):  # somebody's trigger has passed it over
            raise DependencyUnavailable("the audit log does not keep what is written to it")
        return written

    def _values(self, row: Row, one: Claim | None) -> tuple[object, ...]:
        """Return what stands in the place of each parameter of `_ADD`."""
        instance: tuple[object, ...] = _OF_NO_INSTANCE
        search: tuple[object, ...] = _OF_NO_SEARCH
        if isinstance(one, StoredInstance):
            instance = (one.id, one.written, one.series_instance_uid, one.study_instance_uid)
        elif one is not None:
            search = (one.study_uid, one.studies, one.series)
        return (
            row.log_id,
            row.recorded_at,
            row.user_id,
            row.username,
            row.action,
            row.resource_type,
            row.resource_id,
            row.ip_address,
            row.user_agent,
            row.privileged,
            row.outcome,
            row.details,
            self._seal.seal_bytes(row.phi, purpose=PURPOSE) if row.phi else b"",
            self._keys.current,
            self._keys.row(row),
            *instance,
            *search,
        )


def _adding(claims: Sequence[Claim | None]) -> str:
    """Return the statement that checks no more than it has to."""
    if any(isinstance(one, Versions) for one in claims):
        return _ADD_FOUND
    return _ADD_OF if any(claims) else _ADD


def _tell(row: Row) -> None:
    """Tell the log of security events; no name, which may be a password in the wrong field."""
    say = log.warning if row.outcome == "failure" else log.info
    say(
        f"security.{row.action}",
        log_id=str(row.log_id),
        user_id=row.user_id,
        address=str(row.ip_address or ""),
        resource=f"{row.resource_type} {row.resource_id}".strip(),
        outcome=row.outcome,
    )
