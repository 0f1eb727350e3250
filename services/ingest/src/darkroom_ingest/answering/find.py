"""C-FIND as a handler (PS3.4 section C.4.1): answers go out as the index gives them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

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
from darkroom_common.index.rows import UnreadableRow
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
from darkroom_ingest.senders.admission import Caller, Permit
from darkroom_ingest.senders.roster import Doorkeeper
from darkroom_ingest.settings import IngestSettings

log = get_logger(__name__)
_OFFERED: Final = bytes((1, 1, 1, 0, 0))
"""Relational queries, date with time, names by their words; no time zones, no conversion."""


def agreed(wanted: bytes) -> bytes:
    """Return what is agreed on of what a requestor would like (PS3.4 section C.5.1.1)."""
    return bytes(ours & theirs for ours, theirs in zip(_OFFERED, wanted, strict=False))


def finding(settings: IngestSettings, archive: Archive, doorkeeper: Doorkeeper) -> Service:
    """Return the query service of all information models."""
    finder = Finder(settings, archive, doorkeeper)
    return Service(
        sop_classes=(PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY),
        handlers={CommandField.C_FIND: Handler(finder.answer)},
        extended=agreed,
    )


class Finder:
    """Answers queries from the index, as far as the list of senders lets the asker know."""

    def __init__(self, settings: IngestSettings, archive: Archive, doorkeeper: Doorkeeper) -> None:
        self._settings = settings
        self._archive = archive
        self._doorkeeper = doorkeeper

    def answer(self, request: Request) -> Iterator[Answer]:
        """Yield the answers to one query."""
        caller = request.caller
        permit = self._doorkeeper.decide(
            Caller(
                caller.calling_ae_title,
                caller.called_ae_title,
                request.host,
                request.certificate_sha256,
            )
        )
        if not isinstance(permit, Permit) or permit.query_rule == "none":
            yield self._refused(request, NOT_AUTHORISED, "not permitted")
            return
        try:
            asked = parse_identifier(
                request.data_set(permit.assumed),
                request.context.abstract_syntax,
                self._options(request),
            )
        except BadIdentifier as error:
            more = offending(error.tag)
            yield self._refused(request, IDENTIFIER_DOES_NOT_MATCH, str(error), more)
            return
        except ProtocolError as error:
            yield self._refused(request, UNABLE_TO_PROCESS, error.code)
            return
        if permit.query_rule == "own":
            sources = (caller.calling_ae_title,)
            asked = replace(asked, query=replace(asked.query, sources=sources))
        yield from self._found(request, asked, asked.character_set or permit.assumed.name)

    def _options(self, request: Request) -> Options:
        wanted = request.caller.extended.get(request.context.abstract_syntax, b"")
        relational, combined, fuzzy = (*map(bool, agreed(wanted)), False, False, False)[:3]
        return Options(
            relational=relational or self._settings.query_relational == "always",
            combined=combined,
            fuzzy=fuzzy or self._settings.query_fuzzy == "always",
        )

    def _found(self, request: Request, asked: Asked, prefers: str) -> Iterator[Answer]:
        began, told = monotonic(), 0
        status, reason = SUCCESS, ""
        pending = PENDING_PARTLY if asked.partly else PENDING_MATCH
        implicit = request.context.transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
        retrieve_ae = request.caller.called_ae_title
        try:
            for result in self._results(asked):
                if told == 0:
                    metrics.QUERY_SECONDS.observe(monotonic() - began)
                if told >= self._settings.query_answers:
                    status, reason = OUT_OF_RESOURCES, "more matches than QUERY_ANSWERS"
                    break
                answer = shown(asked, result, retrieve_ae=retrieve_ae)
                yield Answer(pending, encoded(answer, prefers=prefers, implicit=implicit))
                told += 1
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
        metrics.QUERIES.labels(asked.level.lower(), f"{status:04X}").inc()
        log.info(
            "query.answered",
            ae=request.caller.calling_ae_title,
            peer=request.host,
            level=asked.level,
            keys=sorted({one.field.keyword for one in asked.query.conditions}),
            matches=told,
            status=f"{status:04X}",
            reason=reason,
            seconds=round(monotonic() - began, 3),
        )
        yield Answer(status, elements=error_comment(reason))

    def _results(self, asked: Asked) -> Iterator[dict[str, object]]:
        for page in self._archive.pages(asked.query, seconds=self._settings.query_seconds):
            yield from page

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
