"""Modality Performed Procedure Step as handlers: N-CREATE, N-SET and N-GET (PS3.4 annex F)."""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from opentelemetry.trace import SpanKind
from pydicom.uid import generate_uid

from darkroom_common.dicom.identity import is_conformant
from darkroom_common.dicom.json_model import to_json
from darkroom_common.dimse.serving import Answer, Handler, Request, Service
from darkroom_common.dimse.statuses import (
    ATTRIBUTES_NOT_TAKEN,
    DUPLICATE_SOP_INSTANCE,
    INVALID_ATTRIBUTE_VALUE,
    INVALID_SOP_INSTANCE,
    MISSING_ATTRIBUTE,
    MISSING_ATTRIBUTE_VALUE,
    NO_SUCH_SOP_INSTANCE,
    NOT_AUTHORISED,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
)
from darkroom_common.dimse.wire.association_items import IMPLICIT_VR_LITTLE_ENDIAN
from darkroom_common.dimse.wire.command import CommandField, Element, Value
from darkroom_common.dimse.wire.messages import InMemory
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.index.matching.data_sets import values_at
from darkroom_common.index.reader import SearchTooLong
from darkroom_common.seal import Unsealable
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.answering.answer import encoded
from darkroom_ingest.answering.archive import Archive
from darkroom_ingest.answering.find import permit_of
from darkroom_ingest.senders.admission import Permit
from darkroom_ingest.senders.roster import Doorkeeper
from darkroom_ingest.worklist.attributes import Json, tag_of
from darkroom_ingest.worklist.performed import Begun, Change, Known, PerformedSteps, State

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
PERFORMED_STEP: Final = "1.2.840.10008.3.1.2.3.3"
RETRIEVE: Final = "1.2.840.10008.3.1.2.3.4"
DATA_LIMIT: Final = 8 << 20
"""Bytes of an attribute list: one of 30,000 images."""
SECONDS: Final = 20.0
"""Until a modality is told that it cannot be kept."""
MAY_NO_LONGER_BE_UPDATED: Final = 0xA710
"""Error ID (0000,0903), PS3.4 table F.7.2-2."""
_STATUS: Final = tag_of("PerformedProcedureStepStatus")
_SCHEDULED: Final = tag_of("ScheduledStepAttributesSequence")
_STUDY: Final = f"{_SCHEDULED}.{tag_of('StudyInstanceUID')}"
_STATION: Final = tag_of("PerformedStationAETitle")
_MODALITY: Final = tag_of("Modality")
SERIES: Final = tag_of("PerformedSeriesSequence")
AT_FIRST: Final = (
    tag_of("PerformedProcedureStepID"),
    _STATION,
    tag_of("PerformedProcedureStepStartDate"),
    tag_of("PerformedProcedureStepStartTime"),
    _STATUS,
    _MODALITY,
    _SCHEDULED,
)
"""Of type 1 when a step begins (PS3.4 table F.7.2-1)."""
AT_LAST: Final = (tag_of("PerformedProcedureStepEndDate"), tag_of("PerformedProcedureStepEndTime"))
"""Of type 1 in a final state; a completed one has series, too."""
FIXED: Final = frozenset(
    {
        *(tag_of(keyword) for keyword in ("PatientName", "PatientID", "PatientBirthDate")),
        *(tag_of(keyword) for keyword in ("PatientSex", "StudyID", "PerformedStationName")),
        *(one for one in AT_FIRST if one != _STATUS),
    }
)
"""What N-SET may not change."""
_STATES: Final[Mapping[str, State]] = {
    "IN PROGRESS": "IN PROGRESS",
    "COMPLETED": "COMPLETED",
    "DISCONTINUED": "DISCONTINUED",
}
_ACCESSION: Final = tag_of("AccessionNumber")
_STEP_ID: Final = tag_of("ScheduledProcedureStepID")
_NO_LONGER: Final = "Performed Procedure Step Object may no longer be updated"
T = TypeVar("T")
_MOST: Final = 1000
"""Studies, or scheduled steps, of one performed step."""


class NotTaken(PermanentError):
    """A request is answered with a failure.

    Attributes:
        status: PS3.7 annex C.
        tags: the attributes that it is about.
    """

    def __init__(self, status: int, reason: str, tags: Iterable[str] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.tags = tuple(tags)


def performing(archive: Archive, doorkeeper: Doorkeeper, steps: PerformedSteps) -> Service:
    """Return the service of performed procedure steps, their retrieval included."""
    handlers = StepHandlers(archive, doorkeeper, steps)
    open_list = handlers.open
    return Service(
        sop_classes=(PERFORMED_STEP, RETRIEVE),
        handlers={
            CommandField.N_CREATE: Handler(handlers.create, open_list),
            CommandField.N_SET: Handler(handlers.set, open_list),
            CommandField.N_GET: Handler(handlers.get),
        },
    )


@dataclass(frozen=True)
class StepHandlers:
    """Takes what modalities tell of their steps: it is durable before it is answered."""

    archive: Archive
    doorkeeper: Doorkeeper
    steps: PerformedSteps

    @staticmethod
    def open(_: Request) -> InMemory:
        """Return what takes an attribute list."""
        return InMemory(DATA_LIMIT)

    def create(self, request: Request) -> Iterator[Answer]:
        """Keep a step that begins."""
        yield self._answer(request, self._create)

    def set(self, request: Request) -> Iterator[Answer]:
        """Keep what a step has become."""
        yield self._answer(request, self._set)

    def get(self, request: Request) -> Iterator[Answer]:
        """Tell what is known of a step."""
        yield self._answer(request, self._get)

    def _answer(self, request: Request, work: Callable[[Request, Permit], Answer]) -> Answer:
        command = CommandField(request.command.field).name.replace("_", "-")
        with traces.span(tracer, f"{command} SCP performed step", kind=SpanKind.SERVER):
            return self._answered(request, work)

    def _answered(self, request: Request, work: Callable[[Request, Permit], Answer]) -> Answer:
        try:
            answer, reason = self._worked(request, work), ""
        except NotTaken as error:
            reason = str(error)
            answer = Answer(error.status, elements=_said(error.status, reason, error.tags))
        status = answer.status
        metrics.PERFORMED_STEPS.labels(
            CommandField(request.command.field).name, f"{status:04X}"
        ).inc()
        log.info(
            "performed_step.answered",
            ae=request.caller.calling_ae_title,
            command=f"{request.command.field:04X}",
            sop_instance_uid=request.command.sop_instance_uid[:64],
            status=f"{status:04X}",
            reason=reason,
        )
        return answer

    def _worked(self, request: Request, work: Callable[[Request, Permit], Answer]) -> Answer:
        permit = permit_of(request, self.doorkeeper)
        if permit is None:
            raise NotTaken(NOT_AUTHORISED, "not permitted")
        try:
            return work(request, permit)
        except ProtocolError as error:
            raise NotTaken(PROCESSING_FAILURE, error.code) from error
        except (DependencyUnavailable, SearchTooLong) as error:
            raise NotTaken(RESOURCE_LIMITATION, "the database is away") from error
        except Unsealable as error:
            raise NotTaken(PROCESSING_FAILURE, "it cannot be opened") from error

    def _create(self, request: Request, permit: Permit) -> Answer:
        attributes = to_json(request.data_set(permit.assumed))
        _require(attributes, AT_FIRST)
        if _one(attributes, _STATUS) != "IN PROGRESS":
            raise NotTaken(INVALID_ATTRIBUTE_VALUE, "a step begins IN PROGRESS", [_STATUS])
        studies = _distinct(values_at(attributes, _STUDY))
        traces.about(studies)
        items = attributes[_SCHEDULED]["Value"]
        if len(values_at(attributes, _STUDY)) < len(items):
            raise NotTaken(MISSING_ATTRIBUTE, "an item names no study", [_STUDY[-8:]])
        if not all(map(is_conformant, studies)) or len(items) > _MOST:
            raise NotTaken(INVALID_ATTRIBUTE_VALUE, "a study is no UID", [_STUDY[-8:]])
        uid = request.command.sop_instance_uid or str(generate_uid(prefix=None))
        if not is_conformant(uid):
            raise NotTaken(INVALID_SOP_INSTANCE, "the SOP instance UID is none")
        begun = Begun(
            uid,
            request.caller.calling_ae_title,
            _one(attributes, _STATION)[:16],
            _one(attributes, _MODALITY)[:16],
            studies,
            _distinct(
                (_one(item, _ACCESSION), _one(item, _STEP_ID))
                for item in items
                if _one(item, _STEP_ID)
            ),
            attributes,
        )
        if not self.archive.run(self.steps.begin(begun), seconds=SECONDS):
            raise NotTaken(DUPLICATE_SOP_INSTANCE, "there is such a step")
        return Answer(SUCCESS, elements={Element.AFFECTED_SOP_INSTANCE: uid})

    def _set(self, request: Request, permit: Permit) -> Answer:
        given = to_json(request.data_set(permit.assumed))
        uid = request.command.sop_instance_uid
        while True:
            known = self._known(uid)
            traces.about(values_at(known.attributes, _STUDY))
            if known.calling_ae_title != request.caller.calling_ae_title:
                raise NotTaken(NOT_AUTHORISED, "another AE has created the step")
            if known.state != "IN PROGRESS":
                raise NotTaken(PROCESSING_FAILURE, _NO_LONGER)
            fixed = [
                tag for tag in given if tag in FIXED and given[tag] != known.attributes.get(tag)
            ]
            taken = {tag: value for tag, value in given.items() if tag not in FIXED}
            attributes = known.attributes | taken
            state = _STATES.get(_one(attributes, _STATUS))
            if state is None:
                raise NotTaken(INVALID_ATTRIBUTE_VALUE, "this is no state of a step", [_STATUS])
            if state != "IN PROGRESS":
                _require(attributes, (*AT_LAST, *([SERIES] if state == "COMPLETED" else [])))
            change = Change(state, attributes)
            work = self.steps.change(uid, change, expected=known)
            if self.archive.run(work, seconds=SECONDS):
                break
        if fixed:
            return Answer(ATTRIBUTES_NOT_TAKEN, elements={Element.ATTRIBUTES: _tags(fixed)})
        return Answer(SUCCESS)

    def _get(self, request: Request, permit: Permit) -> Answer:
        known = self._known(request.command.sop_instance_uid)
        own = known.calling_ae_title == request.caller.calling_ae_title
        if not own and permit.query_rule != "any":
            raise NotTaken(NOT_AUTHORISED, "another AE has created the step")
        wanted = {f"{tag:08X}" for tag in request.command.attributes}
        found = {
            tag: value for tag, value in known.attributes.items() if not wanted or tag in wanted
        }
        implicit = request.context.transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
        data_set = encoded(found, prefers=permit.assumed.name, implicit=implicit)
        return Answer(SUCCESS, data_set)

    def _known(self, sop_instance_uid: str) -> Known:
        known = self.archive.run(self.steps.find(sop_instance_uid), seconds=SECONDS)
        if known is None:
            raise NotTaken(NO_SUCH_SOP_INSTANCE, "there is no such step")
        return known


def _require(attributes: Json, tags: Iterable[str]) -> None:
    missing = [tag for tag in tags if tag not in attributes]
    if missing:
        raise NotTaken(MISSING_ATTRIBUTE, "attributes are missing", missing)
    empty = [tag for tag in tags if not attributes[tag].get("Value")]
    if empty:
        raise NotTaken(MISSING_ATTRIBUTE_VALUE, "attributes have no value", empty)


def _one(attributes: Json, tag: str) -> str:
    return next(iter(values_at(attributes, tag)), "").strip()


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _tags(tags: Iterable[str]) -> bytes:
    return b"".join(struct.pack("<HH", int(tag[:4], 16), int(tag[4:], 16)) for tag in tags)


def _said(status: int, reason: str, tags: Iterable[str]) -> dict[int, Value]:
    found: dict[int, Value] = {Element.ERROR_COMMENT: reason[:64]}
    if reason == _NO_LONGER:
        found[Element.ERROR_ID] = MAY_NO_LONGER_BE_UPDATED
    listed = _tags(tags)
    if listed and status in (MISSING_ATTRIBUTE, MISSING_ATTRIBUTE_VALUE):
        found[Element.ATTRIBUTES] = listed
    return found
