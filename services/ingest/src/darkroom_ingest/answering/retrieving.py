"""What C-GET and C-MOVE have in common: who may retrieve what, and where it is."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Final

from opentelemetry.trace import SpanKind

from darkroom_common.clock import monotonic
from darkroom_common.dimse.serving import Answer, Request
from darkroom_common.dimse.statuses import (
    IDENTIFIER_DOES_NOT_MATCH,
    NOT_AUTHORISED,
    UNABLE_TO_COUNT,
    UNABLE_TO_PROCESS,
    UNABLE_TO_SEND,
)
from darkroom_common.dimse.wire.command import CommandField, Value, error_comment, offending
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.index.rows import StoredInstance, UnreadableRow
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.answering.archive import Archive
from darkroom_ingest.answering.find import permit_of
from darkroom_ingest.answering.identifier import BadIdentifier
from darkroom_ingest.answering.named import parse_named
from darkroom_ingest.answering.progress import Progress
from darkroom_ingest.senders.admission import Permit
from darkroom_ingest.senders.roster import Doorkeeper
from darkroom_ingest.settings import IngestSettings

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
NAMES: Final = {CommandField.C_GET: "get", CommandField.C_MOVE: "move"}
_RELATIONAL: Final = b"\1"


class Refused(Exception):
    """A retrieval that is not begun. Its text is for people, without a value of the identifier."""

    def __init__(self, status: int, reason: str, more: dict[int, Value] | None = None) -> None:
        super().__init__(reason)
        self.answer = Answer(status, elements=error_comment(reason) | (more or {}))


@dataclass(frozen=True)
class Found:
    """What is to be retrieved."""

    level: str
    instances: list[StoredInstance]


Retrieve = Callable[[Request, Found, Progress], Generator[Answer, None, Answer]]
"""Retrieves: yields pending answers and returns the last one."""


@dataclass(frozen=True)
class Desk:
    """What retrievals are answered with."""

    settings: IngestSettings
    archive: Archive
    doorkeeper: Doorkeeper

    def permit(self, request: Request) -> Permit:
        """Return what the caller may do now.

        Raises:
            Refused: it may not retrieve.
        """
        permit = permit_of(request, self.doorkeeper)
        if permit is None or permit.retrieve_rule == "none":
            raise Refused(NOT_AUTHORISED, "not permitted")
        return permit

    def find(self, request: Request) -> Found:
        """Return what a request names, as far as the caller may have it.

        Raises:
            Refused: nothing can be said of it, or it is too much.
        """
        permit, settings = self.permit(request), self.settings
        model = request.context.abstract_syntax
        asked = request.caller.extended.get(model, b"")
        relational = settings.query_relational == "always" or asked[:1] == _RELATIONAL
        try:
            level, wanted = parse_named(
                request.data_set(permit.assumed), model, relational=relational
            )
        except BadIdentifier as error:
            more = offending(error.tag)
            raise Refused(IDENTIFIER_DOES_NOT_MATCH, str(error), more) from error
        except ProtocolError as error:
            raise Refused(UNABLE_TO_PROCESS, error.code) from error
        if permit.retrieve_rule == "own":
            wanted = replace(wanted, sources=(request.caller.calling_ae_title,))
        try:
            found = self.archive.stored(wanted, most=settings.retrieve_instances)
        except DependencyUnavailable as error:
            raise Refused(UNABLE_TO_COUNT, "the index is away") from error
        except UnreadableRow as error:
            raise Refused(UNABLE_TO_PROCESS, "a row cannot be decrypted") from error
        if len(found) > settings.retrieve_instances:
            raise Refused(UNABLE_TO_COUNT, "more than RETRIEVE_INSTANCES")
        if sum(one.size for one in found) > settings.retrieve_bytes:
            raise Refused(UNABLE_TO_SEND, "more than RETRIEVE_BYTES")
        return Found(level, found)

    def answer(
        self, request: Request, retrieve: Retrieve, *, destination: str = ""
    ) -> Iterator[Answer]:
        """Yield the answers to a retrieval, and tell how it went."""
        how, began = NAMES[CommandField(request.command.field)], monotonic()
        caller = request.caller.calling_ae_title
        with traces.span(tracer, f"C-{how.upper()} SCP", kind=SpanKind.SERVER, darkroom__ae=caller):
            try:
                found = self.find(request)
                progress = Progress(len(found.instances))
                last = yield from retrieve(request, found, progress)
                level, refusal = found.level, ""
                traces.about(one.study_instance_uid for one in found.instances)
            except Refused as error:
                level, progress, last, refusal = "none", Progress(0), error.answer, str(error)
            metrics.RETRIEVALS.labels(how, f"{last.status:04X}").inc()
            if request.back is not None:
                studies = (one.study_instance_uid for one in found.instances) if not refusal else ()
                request.back.tally.studies |= dict.fromkeys(studies)
            log.info(
                "retrieval.answered",
                command=how,
                ae=caller,
                peer=request.host,
                destination=destination,
                level=level,
                completed=progress.completed,
                failed=progress.failed,
                warned=progress.warned,
                status=f"{last.status:04X}",
                reason=refusal,
                seconds=round(monotonic() - began, 3),
            )
            yield last
