"""Routing rules at work: events become jobs, each instance once a rule and destination (TRX-07)."""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.amqp.broker import Received
from darkroom_common.clock import utc_now
from darkroom_common.errors import TransientError
from darkroom_common.index.studies import study_known
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import SendObjects
from darkroom_common.messages.events import (
    IndexedItem,
    InstancesIndexed,
    InstancesReplaced,
    StudyCompleted,
)
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import transmit as metrics
from darkroom_transmit.availability.notices import want_notices
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.retrieval.prefetch import is_prior, want_priors
from darkroom_transmit.routing.decision import Decision, Facts, Rule, decide
from darkroom_transmit.sending.repository import SendJobs

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
WAY_ATTEMPTS: Final = 2
"""How often a complete study waits for the event that says how it came; then it came from whom the
index names, to a title that nobody knows."""
_WAYS: Final = (
    "SELECT calling_ae_title, called_ae_title FROM transmit.arrival WHERE study_instance_uid = $1"
)
_FORGET_ROUTED: Final = (
    "DELETE FROM transmit.routed WHERE destination = ANY($1::text[]) AND rule = ANY($2::text[])"
    " AND sop_instance_uid = ANY($3::text[]) RETURNING rule"
)


class WayUnknown(TransientError):
    """A rule needs to know how a study came, and nobody has said so yet."""


@dataclass(frozen=True)
class SeriesFacts:
    """A series of the index, as rules look at it."""

    series_instance_uid: str
    facts: Facts
    instances: tuple[str, ...]


@dataclass(frozen=True)
class Arrived:
    """An instance that was indexed, with the trace that brought it."""

    item: IndexedItem
    trace: dict[str, str]


@dataclass(frozen=True)
class Router:
    """Looks at events and makes jobs."""

    database: Database
    configuration: Configuration
    jobs: SendJobs
    inbox: Inbox
    outbox: Outbox
    keys: PhiKeys
    wake: Callable[[str], None]
    now: Callable[[], dt.datetime] = utc_now

    async def route(self, received: Sequence[Received]) -> None:
        """Look at events; with their inbox rows and jobs in one transaction.

        While no rule looks at single instances, batches of them cost one statement: how their
        studies came is kept, which may be done again.
        """
        arrived, replaced = list(_arrived(received)), list(_replaced(received))
        completed = [one for one in received if isinstance(one.message, StudyCompleted)]
        destinations: set[str] = set()
        async with self.database.transaction() as db:
            rules = await self.configuration.rules(db)  # none goes, with whom it names, meanwhile
            moments = {rule.spec.when for rule in rules if rule.spec.enabled}
            ours = [one for one in arrived if not one.item.replicated]  # others' is theirs to send
            looked_at = ours if "instance" in moments else []
            ids = [one.item.receipt for one in (*looked_at, *replaced)]
            ids += [one.message.id for one in completed]
            await self._remember(db, arrived)
            new = await self.inbox.first_times(db, ids) if ids else set()
            fresh = [one for one in looked_at if one.item.receipt in new]
            destinations |= await self._instances(db, rules, fresh)
            again = {one.item.receipt: one for one in replaced if one.item.receipt in new}
            destinations |= await self._again(db, rules, list(again.values()))
            studies = [one for one in completed if one.message.id in new]
            for one in studies:
                if isinstance(one.message, StudyCompleted) and not one.message.replicated:
                    uid, revision = one.message.study_instance_uid, one.message.revision
                    await want_notices(db, uid, revision, one.trace)
            if "study-complete" in moments:
                destinations |= await self._studies(db, rules, studies)
        routed = received if moments or replaced else ()  # without a rule there is nothing to tell
        for one in routed:  # a batch joins many traces: each has its own line
            for trace in one.traces:
                with traces.span(tracer, "transmit.route", parent=traces.extract(trace)):
                    log.debug("event.routed", type=one.message.TYPE, destinations=len(destinations))
        if destinations:
            self.outbox.wake()
        for name in destinations:
            self.wake(name)

    async def _instances(
        self, db: Connection, rules: Sequence[Rule], arrived: Sequence[Arrived]
    ) -> set[str]:
        """Send the new instances of each study; return the destinations."""
        destinations: set[str] = set()
        indexed: dict[str, set[str]] = defaultdict(set)
        traced: dict[str, dict[str, str]] = {}
        for one in arrived:
            study = one.item.study_instance_uid
            indexed[study].add(one.item.sop_instance_uid)
            traced.setdefault(study, one.trace)
        for study in sorted(indexed):
            destinations |= await self._send(
                db, rules, study, "instance", traced[study], only=indexed[study]
            )
        return destinations

    async def _studies(
        self, db: Connection, rules: Sequence[Rule], received: Sequence[Received]
    ) -> set[str]:
        """Send the studies that are complete; return the destinations.

        Raises:
            WayUnknown: rules look at the way that a study came, which is not told yet: the two
                events may change places while the queue is bound to one of them only.
        """
        destinations: set[str] = set()
        look = any(_looks_at_way(rule) for rule in rules)
        for one in received:
            if isinstance(one.message, StudyCompleted) and not one.message.replicated:
                study = one.message.study_instance_uid
                if look and not await self._ways(db, study):
                    if one.attempt < WAY_ATTEMPTS:
                        raise WayUnknown("a study is complete of which no instance is indexed yet")
                    told = {(study, ae, ""): "" for ae in one.message.calling_ae_titles}
                    await self._keep_ways(db, told)
                trace = await self._first_trace(db, study) or one.trace
                destinations |= await self._send(db, rules, study, "study-complete", trace)
        return destinations

    async def _again(
        self, db: Connection, rules: Sequence[Rule], replaced: Sequence[Arrived]
    ) -> set[str]:
        """Send what has other bytes than before to whom rules have sent it; return whom.

        A rule that does not want it any more, of its new study or patient, sends nothing.
        """
        studies: dict[str, set[str]] = defaultdict(set)
        traced: dict[str, dict[str, str]] = {}
        for one in replaced:
            studies[one.item.study_instance_uid].add(one.item.sop_instance_uid)
            traced.setdefault(one.item.study_instance_uid, one.trace)
        destinations: set[str] = set()
        known = sorted({name for rule in rules for name in rule.spec.destinations})
        names = [rule.name for rule in rules]
        for study, uids in sorted(studies.items()):
            rows = await db.fetch(_FORGET_ROUTED, known, names, sorted(uids))
            again = [rule for rule in rules if rule.name in {row["rule"] for row in rows}]
            for when in ("instance", "study-complete") if again else ():
                destinations |= await self._send(db, again, study, when, traced[study], only=uids)
        return destinations

    @staticmethod
    async def _remember(db: Connection, arrived: Sequence[Arrived]) -> None:
        """Keep how studies came; the first trace is the one that a delivery belongs to."""
        rows: dict[tuple[str, str, str], str] = {}
        for one in arrived:
            item = one.item
            key = item.study_instance_uid, item.calling_ae_title, item.called_ae_title
            rows.setdefault(key, one.trace.get("traceparent", ""))
        await Router._keep_ways(db, rows)

    @staticmethod
    async def _keep_ways(db: Connection, rows: dict[tuple[str, str, str], str]) -> None:
        if rows:
            ordered = sorted(rows)
            await db.execute(
                "INSERT INTO transmit.arrival (study_instance_uid, calling_ae_title,"
                " called_ae_title, traceparent)"
                " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])"
                " ON CONFLICT DO NOTHING",
                [key[0] for key in ordered],
                [key[1] for key in ordered],
                [key[2] for key in ordered],
                [rows[key] for key in ordered],
            )

    @staticmethod
    async def _first_trace(db: Connection, study: str) -> dict[str, str]:
        found = await db.fetchval(
            "SELECT traceparent FROM transmit.arrival WHERE study_instance_uid = $1"
            " AND traceparent <> '' ORDER BY first_at LIMIT 1",
            study,
        )
        return {"traceparent": found} if found else {}

    @staticmethod
    async def _ways(db: Connection, study: str) -> list[tuple[str, str]]:
        """Return the calling and called AE titles by which a study came."""
        return [(row[0], row[1]) for row in await db.fetch(_WAYS, study)]

    async def facts(self, db: Connection, study: str) -> list[SeriesFacts]:
        """Return what rules see of a study, a series each; nothing when it is not there."""
        ways = await self._ways(db, study)
        calling = tuple(sorted({way[0] for way in ways}))
        called = tuple(sorted({way[1] for way in ways}))
        known = await study_known(db, self.keys, study)
        if known is None:
            return []
        found = []
        for series in known.series:
            facts = Facts(
                at=self.now(),
                calling_ae_titles=calling,
                called_ae_titles=called,
                modality=series.modality,
                station_name=series.text("StationName"),
                study_description=known.text("StudyDescription"),
                series_description=series.text("SeriesDescription"),
            )
            found.append(SeriesFacts(series.series_instance_uid, facts, series.instances))
        return found

    async def _send(  # noqa: PLR0913, PLR0917 - one call, two moments
        self,
        db: Connection,
        rules: Sequence[Rule],
        study: str,
        when: str,
        trace: dict[str, str],
        only: set[str] | None = None,
    ) -> set[str]:
        """Make the jobs of the rules that match; return their destinations."""
        wanted: dict[Rule, list[str]] = {}
        for series in await self.facts(db, study):
            instances = [uid for uid in series.instances if only is None or uid in only]
            for decision in decide(rules, series.facts, when=when):
                if decision.matched and instances:
                    wanted.setdefault(decision.rule, []).extend(instances)
        destinations: set[str] = set()
        with traces.span(tracer, "transmit.route", parent=traces.extract(trace), rules=len(wanted)):
            for rule, uids in wanted.items():
                if rule.spec.prefetch is not None:
                    await want_priors(db, rule, study)
                for destination in rule.spec.destinations:
                    if await self._job(db, rule, destination, study, uids):
                        destinations.add(destination)
        return destinations

    async def _job(
        self, db: Connection, rule: Rule, destination: str, study: str, uids: Sequence[str]
    ) -> bool:
        job_id = new_message_id()
        rows = await db.fetch(
            "INSERT INTO transmit.routed (rule, destination, sop_instance_uid, job_id)"
            " SELECT $1, $2, uid, $4 FROM unnest($3::text[]) AS given (uid) ORDER BY uid"
            " ON CONFLICT DO NOTHING RETURNING sop_instance_uid",
            rule.name,
            destination,
            list(uids),
            job_id,
        )
        new = {row["sop_instance_uid"] for row in rows}
        if not new:
            return False
        await self.jobs.add(
            db,
            SendObjects(
                job_id=job_id,
                destination=destination,
                study_instance_uid=study,
                sop_instance_uids=tuple(uid for uid in uids if uid in new),
                priority=rule.spec.priority,
                requested_by=rule.name,
            ),
            rule=rule.name,
        )
        metrics.ROUTED.labels(rule.name).inc(len(new))
        log.info(
            "study.routed",
            rule=rule.name,
            destination=destination,
            job=job_id,
            study_instance_uid=study,
            instances=len(new),
        )
        return True

    async def explain(self, study: str) -> dict[str, Any] | None:
        """Return what the rules would do with a study and why; None when it is not there."""
        rules = await self.configuration.rules()
        async with self.database.acquire() as db:
            series = await self.facts(db, study)
            if not series:
                return None
            prior = await is_prior(db, study)
            routed = {
                (row["rule"], row["destination"]): row["instances"]
                for row in await db.fetch(
                    "SELECT rule, destination, count(*) AS instances FROM transmit.routed"
                    " WHERE sop_instance_uid = ANY($1::text[]) GROUP BY 1, 2",
                    [uid for one in series for uid in one.instances],
                )
            }
        explained = []
        for one in series:
            decisions = []
            for when in ("instance", "study-complete"):
                decisions += decide(rules, one.facts, when=when)
            decisions.sort(key=lambda decision: rules.index(decision.rule))
            explained.append(
                {
                    "series_instance_uid": one.series_instance_uid,
                    "modality": one.facts.modality,
                    "instances": len(one.instances),
                    "rules": [_told(decision) for decision in decisions],
                }
            )
        return {
            "study_instance_uid": study,
            "is_prior": prior,
            "series": explained,
            "already_routed": [
                {"rule": rule, "destination": destination, "instances": count}
                for (rule, destination), count in sorted(routed.items())
            ],
        }


def _arrived(received: Sequence[Received]) -> Iterator[Arrived]:
    """Yield the instances of events; one of an earlier release has its trace in its headers."""
    for one in received:
        match one.message:
            case InstancesIndexed(items=items):
                for item in items:
                    yield Arrived(item, item.trace or one.trace)
            case StudyCompleted() | InstancesReplaced():
                pass
            case _:
                raise TypeError(f"transmit.route got {one.message.TYPE}")


def _replaced(received: Sequence[Received]) -> Iterator[Arrived]:
    """Yield the instances that have other bytes than before."""
    for one in received:
        if isinstance(one.message, InstancesReplaced):
            for item in one.message.items:
                yield Arrived(item, item.trace or one.trace)


def _looks_at_way(rule: Rule) -> bool:
    """Tell whether a rule for complete studies needs to know who sent them."""
    spec, given = rule.spec, rule.spec.conditions
    titles = given.calling_ae_titles or given.called_ae_titles
    return spec.enabled and spec.when == "study-complete" and bool(titles)


def _told(decision: Decision) -> dict[str, Any]:
    return {
        "rule": decision.rule.name,
        "when": decision.rule.spec.when,
        "matched": decision.matched,
        "skipped": decision.skipped,
        "destinations": list(decision.rule.spec.destinations),
        "stop": decision.rule.spec.stop,
        "prefetch": None
        if decision.rule.spec.prefetch is None
        else decision.rule.spec.prefetch.model_dump(mode="json"),
        "conditions": [
            {
                "condition": finding.condition,
                "matched": finding.matched,
                "expected": finding.expected,
                "found": finding.found,
            }
            for finding in decision.findings
        ],
    }
