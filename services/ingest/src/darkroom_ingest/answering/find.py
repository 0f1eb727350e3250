"""C-FIND as a handler (PS3.4 section C.4.1): answers go out as the index gives them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from opentelemetry.trace import SpanKind

from darkroom_common.clock import monotonic
from darkroom_common.dimse.serving import Answer, Handler, Request, Service
from darkroom_common.dimse.statuses import (
    CANCELLED,
    IDENTIFIER_DOES_NOT_MATCH,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    PENDING_MATCH,
    PENDING_PARTLY,
    SUCCESS,
    UNABLE_TO_PROCESS,
)
from darkroom_common.dimse.wire.association_items import IMPLICIT_VR_LITTLE_ENDIAN
from darkroom_common.dimse.wire.command import CommandField, Value, error_comment, offending
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.index.reader import SearchTooLong
from darkroom_common.index.rows import Json, UnreadableRow
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.answering.answer import encoded, shown
from darkroom_ingest.answering.archive import Archive
from darkroom_ingest.answering.identifier import (
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    STUDY_ROOT,
    Asked,
    BadIdentifier,
    Options,
    parse_identifier,
)
from darkroom_ingest.answering.spelling import EXACT, spelled
from darkroom_ingest.senders.admission import Caller, Permit
from darkroom_ingest.senders.roster import Doorkeeper
from darkroom_ingest.settings import IngestSettings

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
_STUDY: Final = "0020000D"
_OFFERED: Final = bytes((1, 1, 1, 0, 0))
"""Relational queries, date with time, names by their words; no time zones, no conversion."""


def agreed(wanted: bytes) -> bytes:
    """Return what is agreed on of what a requestor would like (PS3.4 section C.5.1.1)."""
    return bytes(ours & theirs for ours, theirs in zip(_OFFERED, wanted, strict=False))


@dataclass(frozen=True)
class Prepared:
    """A query that has been understood.

    Attributes:
        level: for logs and metrics.
        keys: keywords of what is matched.
        prefers: the character set of the asker.
        partly: some optional key is not known, or not matched.
        answers: each as DICOM JSON; they come while they are read.
    """

    level: str
    keys: Sequence[str]
    prefers: str
    partly: bool
    answers: Iterable[Json]


Prepare = Callable[[Request, Permit], Prepared]
"""Raises BadIdentifier, ProtocolError: the identifier is none."""


def finding(settings: IngestSettings, archive: Archive, doorkeeper: Doorkeeper) -> Service:
    """Return the query service of all information models of the index."""
    model = IndexModel(settings, archive)
    return Service(
        sop_classes=(PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY),
        handlers={CommandField.C_FIND: Handler(Finder(settings, doorkeeper, model).answer)},
        extended=agreed,
    )


@dataclass(frozen=True)
class IndexModel:
    """Prepares queries of patients, studies, series and instances."""

    settings: IngestSettings
    archive: Archive

    def __call__(self, request: Request, permit: Permit) -> Prepared:
        """Return what is asked for, as far as the asker may know it."""
        caller = request.caller
        asked = parse_identifier(
            request.data_set(permit.assumed),
            request.context.abstract_syntax,
            self._options(request),
        )
        if permit.query_rule == "own":
            sources = (caller.calling_ae_title,)
            asked = replace(asked, query=replace(asked.query, sources=sources))
        return Prepared(
            level=asked.level,
            keys=sorted({one.field.keyword for one in asked.query.conditions}),
            prefers=asked.character_set or permit.assumed.name,
            partly=asked.partly,
            answers=self._answers(asked, caller.called_ae_title),
        )

    def _options(self, request: Request) -> Options:
        wanted = request.caller.extended.get(request.context.abstract_syntax, b"")
        relational, combined, fuzzy = (*map(bool, agreed(wanted)), False, False, False)[:3]
        return Options(
            relational=relational or self.settings.query_relational == "always",
            combined=combined,
            fuzzy=fuzzy or self.settings.query_fuzzy == "always",
        )

    def _answers(self, asked: Asked, retrieve_ae: str) -> Iterator[Json]:
        exact = [
            spelled(tag, text)
            for tag, text in asked.spelled.items()
            if asked.wanted[tag].vr in EXACT
        ]
        for page in self.archive.pages(asked.query, seconds=self.settings.query_seconds):
            for result in page:
                if all(one.holds(result) for one in exact):
                    yield shown(asked, result, retrieve_ae=retrieve_ae)


class Finder:
    """Answers queries, as far as the list of senders lets the asker know."""

    def __init__(self, settings: IngestSettings, doorkeeper: Doorkeeper, prepare: Prepare) -> None:
        self._settings = settings
        self._doorkeeper = doorkeeper
        self._prepare = prepare

    def answer(self, request: Request) -> Iterator[Answer]:
        """Yield the answers to one query."""
        permit = permit_of(request, self._doorkeeper)
        if permit is None or permit.query_rule == "none":
            yield self._refused(request, NOT_AUTHORISED, "not permitted")
            return
        try:
            prepared = self._prepare(request, permit)
        except BadIdentifier as error:
            more = offending(error.tag)
            yield self._refused(request, IDENTIFIER_DOES_NOT_MATCH, str(error), more)
            return
        except ProtocolError as error:
            yield self._refused(request, UNABLE_TO_PROCESS, error.code)
            return
        with traces.span(
            tracer,
            f"C-FIND SCP {prepared.level.lower()}",
            kind=SpanKind.SERVER,
            darkroom__ae=request.caller.calling_ae_title,
        ):
            yield from self._found(request, prepared)

    def _found(self, request: Request, asked: Prepared) -> Iterator[Answer]:
        began, told = monotonic(), 0
        studies: dict[str, None] = {}
        status, reason = SUCCESS, ""
        pending = PENDING_PARTLY if asked.partly else PENDING_MATCH
        implicit = request.context.transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
        try:
            for answer in asked.answers:
                if told == 0:
                    metrics.QUERY_SECONDS.observe(monotonic() - began)
                if told >= self._settings.query_answers:
                    status, reason = OUT_OF_RESOURCES, "more matches than QUERY_ANSWERS"
                    break
                data_set = encoded(answer, prefers=asked.prefers, implicit=implicit)
                yield Answer(pending, data_set)
                told += 1
                if len(studies) <= traces.MOST_STUDIES:
                    studies |= dict.fromkeys(answer.get(_STUDY, {}).get("Value", ()))
                if request.cancelled:
                    status = CANCELLED
                    break
        except SearchTooLong as error:
            status, reason = OUT_OF_RESOURCES, str(error)
        except DependencyUnavailable:
            status, reason = OUT_OF_RESOURCES, "the index is away"
        except UnreadableRow:
            status, reason = UNABLE_TO_PROCESS, "a row cannot be decrypted"
        finally:
            metrics.QUERY_ANSWERS.inc(told)
            traces.about(studies)
        metrics.QUERIES.labels(asked.level.lower(), f"{status:04X}").inc()
        log.info(
            "query.answered",
            ae=request.caller.calling_ae_title,
            peer=request.host,
            level=asked.level,
            keys=list(asked.keys),
            matches=told,
            status=f"{status:04X}",
            reason=reason,
            seconds=round(monotonic() - began, 3),
        )
        yield Answer(status, elements=error_comment(reason))

    @staticmethod
    def _refused(
        request: Request, status: int, reason: str, more: dict[int, Value] | None = None
    ) -> Answer:
        metrics.QUERIES.labels("none", f"{status:04X}").inc()
        log.warning(
            "query.refused",
            ae=request.caller.calling_ae_title,
            peer=request.host,
            status=f"{status:04X}",
            reason=reason,
        )
        return Answer(status, elements=error_comment(reason) | (more or {}))


def permit_of(request: Request, doorkeeper: Doorkeeper) -> Permit | None:
    """Return what the list of senders says now of whoever asks; None: it is not let in."""
    caller = request.caller
    verdict = doorkeeper.decide(
        Caller(
            caller.calling_ae_title,
            caller.called_ae_title,
            request.host,
            request.certificate_sha256,
        )
    )
    return verdict if isinstance(verdict, Permit) else None
