"""The statements of a kind's table, made once of its words and columns."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from darkroom_common.jobs.kind import JobKind

# A job waits at most wait_seconds: when next_at is farther away, the clock was set back.
_DUE: Final = (
    "(next_at <= now() OR next_at > now() + make_interval(secs => wait_seconds + 1)"
    " OR {key} = ANY($6::text[]))"
)
# A lease ends soon: one that ends much later was taken before the clock was set back.
_DEAD: Final = (
    "({of}lease_until IS NULL OR {of}lease_until < now()"
    " OR {of}lease_until > now() + make_interval(secs => $3 * 2))"
)
_ALONE: Final = (
    " AND NOT EXISTS (SELECT FROM {table} o WHERE o.{lane} = job.{lane}"
    " AND o.{state} IN ({working}) AND NOT {other_dead})"
)
_MOST: Final = (
    " AND {most} > (SELECT count(*) FROM {table} o WHERE o.{state} IN ({working})"
    " AND NOT {other_dead})"
)
_CLAIM: Final = (
    "UPDATE {table} SET {state} = {first}, reason = '', {counted}lease_owner = $2,"
    " lease_until = now() + make_interval(secs => $3), updated_at = now()"
    " WHERE {key} = (SELECT {key} FROM {table} AS job WHERE {among} AND {where}"
    "   AND {state} IN ({alive}) AND NOT {lane} = ANY($5::text[]) AND NOT {key} = ANY($7::text[])"
    "   AND (({state} IN ({ready}) AND {due}) OR ({state} IN ({working}) AND {dead}))"
    "   AND {rank} < $4{bound}{alone}{at_most}"
    "  ORDER BY {rank}, {key} LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING *, ({rank})::double precision AS rank"
)
_BOUND: Final = " AND ($8::text = '' OR {target} IN ('', $8))"
_UNBOUND: Final = " AND $8::text IS NOT NULL"  # nothing that it could be bound to
_ONE_BY_ONE: Final = "SELECT pg_advisory_xact_lock(hashtextextended('{table} ' || $1, 0))"
_RENEW: Final = (
    "UPDATE {table} AS job SET lease_until = now() + make_interval(secs => $3){progress}"
    " FROM jsonb_to_recordset($1::text::jsonb) AS given (job_key text{given})"
    " WHERE job.{key} = given.job_key AND job.lease_owner = $2 AND job.{state} IN ({working})"
    " RETURNING given.job_key"
)
_OURS: Final = (
    "SELECT true FROM {table} WHERE {key} = $1 AND lease_owner = $2 AND {state} IN ({working})"
    " AND {where} FOR UPDATE"
)
_ENTER: Final = (
    "UPDATE {table} SET {state} = $3, updated_at = now() WHERE {key} = $1 AND lease_owner = $2"
    " AND {state} IN ({working}) RETURNING *"
)
_FINISH: Final = (
    "UPDATE {table} SET {changes} WHERE {key} = $1 AND ($2::text IS NULL OR lease_owner = $2)"
    " AND {state} IN ({working}) AND {where} RETURNING *"
)
_FIND: Final = "SELECT * FROM {table} WHERE {key} = $1 FOR UPDATE"
_ACT: Final = "UPDATE {table} SET {changes} WHERE {key} = $1 RETURNING *"
_LOG: Final = "INSERT INTO {schema}.change (by, action, kind, name) VALUES ($1, $2, $3, $4)"
_COUNT: Final = (
    "SELECT {lane} AS lane, {state} AS state, count(*) AS jobs,"
    " extract(epoch FROM now() - min(created_at))::double precision AS age"
    " FROM {table} WHERE {state} IN ({shown}) AND {where} GROUP BY 1, 2"
)
_TAKE_BACK: Final = (
    "UPDATE {table} SET lease_owner = '', lease_until = NULL WHERE {state} IN ({working})"
    " AND {where} AND starts_with(lease_owner, $1) AND lease_owner <> $2"
)
_ORPHANS: Final = (
    "SELECT {key} AS job_key FROM {table} AS job WHERE {where} AND {state} IN ({alive})"
    " AND NOT EXISTS (SELECT FROM {targets} AS t"
    "   WHERE t.id = job.{target} OR (job.{target} = '' AND t.name = job.{lane}))"
    " LIMIT 100 FOR UPDATE SKIP LOCKED"
)
_REMOVE: Final = (
    "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {state} IN ({forgotten})"
    " AND {removable} AND finished_at < now() - $1::interval ORDER BY finished_at LIMIT $2"
    " FOR UPDATE SKIP LOCKED)"
)


_COLUMNS: Final = (
    *("table", "lane", "state", "key", "where", "rank", "removable", "target", "targets"),
)


class Statements:
    """SQL of one kind. Only words of ours are written into it; values are bound."""

    def __init__(self, kind: JobKind[Any]) -> None:
        phases = kind.phases
        self._words: dict[str, str] = {name: getattr(kind, name) for name in _COLUMNS}
        self._words |= {
            "schema": kind.schema,
            "first": _quoted([phases.working[0]]),
            "working": _quoted(phases.working),
            "ready": _quoted([phases.waiting, phases.retrying]),
            "alive": _quoted([phases.waiting, phases.retrying, *phases.working]),
            "shown": _quoted(phases.shown),
            "forgotten": _quoted(phases.forgotten),
            "counted": f"{kind.attempts} = {kind.attempts} + 1, " if kind.attempts else "",
            "progress": "".join(f", {name} = given.{name}" for name in kind.progress),
            "given": "".join(f", {name} {of}" for name, of in kind.progress.items()),
            "bound": _BOUND.format(target=kind.target) if kind.target else _UNBOUND,
            "dead": _DEAD.format(of=""),
            "other_dead": _DEAD.format(of="o."),
        }
        self._words["due"] = self._of(_DUE)
        self._words["at_most"] = self._of(_MOST, most=str(kind.most)) if kind.most else ""
        self._words["alone"] = self._of(_ALONE) if kind.alone else ""
        self.claim = self._of(_CLAIM, among=f"{kind.lane} = $1")
        self.claim_any = self._of(_CLAIM, among="$1::text IS NULL")
        self.one_by_one = self._of(_ONE_BY_ONE)
        self.renew = self._of(_RENEW)
        self.ours = self._of(_OURS)
        self.enter = self._of(_ENTER)
        self.find = self._of(_FIND)
        self.log = self._of(_LOG)
        self.count = self._of(_COUNT)
        self.remove = self._of(_REMOVE)
        self.take_back = self._of(_TAKE_BACK)
        self.orphans = self._of(_ORPHANS)

    def _of(self, template: str, **further: str) -> str:
        return template.format_map(self._words | further)

    def finish(
        self, changes: Mapping[str, str], columns: Mapping[str, Any], values: list[Any]
    ) -> str:
        """Return the statement that ends an attempt.

        Args:
            changes: SQL by column; its parameters are from $3 on.
            columns: values by column, in place of those of `changes` where both have one.
            values: of the parameters from $3 on; those of `columns` are added.
        """
        return self._changing(_FINISH, changes, columns, values, first=3)

    def act(self, changes: Mapping[str, str], columns: Mapping[str, Any], values: list[Any]) -> str:
        """Return the statement of an operator's action; see `finish`: parameters from $2 on."""
        return self._changing(_ACT, changes, columns, values, first=2)

    def _changing(
        self,
        template: str,
        changes: Mapping[str, str],
        columns: Mapping[str, Any],
        values: list[Any],
        *,
        first: int,
    ) -> str:
        bound = {name: f"${first + len(values) + n}" for n, name in enumerate(columns)}
        values.extend(columns.values())
        assignments = (f"{name} = {value}" for name, value in ({**changes, **bound}).items())
        return self._of(template, changes=", ".join(assignments))


def _quoted(words: Sequence[str]) -> str:
    """Return words of ours as SQL literals."""
    return ", ".join(f"'{word}'" for word in dict.fromkeys(words))
