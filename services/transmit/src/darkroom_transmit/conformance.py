"""What transmit says of itself in the conformance statement, as it is set."""

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.conformance.lines import NO, YES, StatedLine, attribute, line, name_of
from darkroom_common.dimse.contexts import VERIFICATION
from darkroom_common.dimse.users.commitment import STORAGE_COMMITMENT
from darkroom_common.dimse.users.find import MODALITY_WORKLIST_FIND, STUDY_ROOT_FIND
from darkroom_common.dimse.wire.association_items import IMPLICIT_VR_LITTLE_ENDIAN
from darkroom_common.dimse.wire.data_set import SYNTAXES
from darkroom_common.settings_in_force import shown
from darkroom_common.specs.deidentification import OPTIONS
from darkroom_common.specs.remote import (
    DiscontinuationReason,
    NewProcedureStep,
    PerformedSeries,
    ProcedureStepChange,
    RemoteQuery,
    WorklistQuery,
)
from darkroom_transmit.availability.notices import NOTIFICATION
from darkroom_transmit.remote.mpps import PROCEDURE_STEP
from darkroom_transmit.remote.query_keys import study_root_identifier, worklist_identifier
from darkroom_transmit.remote.step_attributes import changed, created
from darkroom_transmit.retrieval.dimse import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from darkroom_transmit.sending.outcome import Verdict, classify
from darkroom_transmit.settings import TransmitSettings

_HERE: Final = "tests/integration/transmit"
_OF_OPTIONS: Final = {
    "clean-descriptors": "test_descriptors_lose_names_and_numbers_only",
    "retain-safe-private": "test_safe_private_values_stay_when_they_are_to",
}
"""Tests of options that have one of their own."""
_SENT: Final = f"{_HERE}/test_sending.py::test_a_study_arrives_bit_for_bit_and_once"
_PROPOSED: Final = f"{_HERE}/test_proposals.py"
_ASKED: Final = f"{_HERE}/test_remote_query.py::test_dcmtk_is_asked_at_three_levels"
_LISTED: Final = f"{_HERE}/test_remote_query.py::test_a_worklist_of_200_items_is_listed"
_STEP: Final = f"{_HERE}/test_mpps.py::test_a_step_begins_goes_on_and_is_completed"
_ENDED: Final = f"{_HERE}/test_mpps.py::test_a_step_is_discontinued_with_a_reason"
_FETCHED: Final = f"{_HERE}/test_retrieve.py::test_what_a_node_sends_is_stored_bit_for_bit"
_COMMITTED: Final = f"{_HERE}/test_commitment.py::test_what_is_sent_is_committed"
_NOTICE: Final = f"{_HERE}/test_notices.py::test_who_wants_it_is_told_of_each_study_once"
_ECHOED: Final = (
    f"{_HERE}/test_echoes.py::test_a_destination_that_dies_and_comes_back_is_seen_in_the_list"
)
_REPORTED: Final = (
    "tests/e2e/test_operators.py::test_a_destination_reports_on_an_association_of_its_own"
)
_CALLED: Final = (
    "tests/integration/ingest/test_commitment.py::test_whoever_releases_is_called_until_it_takes_it"
)
_NEGOTIATED: Final = "tests/e2e/test_conformance.py::test_the_commitment_port_takes_what_is_stated"
_STATUSES: Final = "tests/unit/transmit/test_scu.py::test_what_an_answer_means"
_TOLD: Final = (
    "tests/integration/api/test_api_desk.py::test_settings_are_shown_without_what_is_secret"
)
_SETTINGS: Final = (
    "commitment_port",
    "commitment_wait_seconds",
    "commitment_report_seconds",
    "echo_seconds",
    "pool_size",
    "retrieve_silence_seconds",
)
_SCU: Final = "SCU"
_PLAIN: Final = ", ".join(map(name_of, SYNTAXES))
_CLASSES: Final = "each of the table of storage SOP classes"
_AS_STORED: Final = "that of the stored object, and Implicit VR Little Endian beside it"


def stated(settings: TransmitSettings) -> tuple[StatedLine, ...]:
    """Return every line about transmit."""
    return (
        *_entities(settings),
        *_services(),
        *_proposals(),
        *_door(settings),
        *_queries(),
        *_steps(),
        *_commitment(),
        *_statuses(),
        *_security(settings),
        *_configuration(settings),
    )


def _entities(settings: TransmitSettings) -> Iterator[StatedLine]:
    does = "sends, asks, retrieves, notifies; takes reports of storage commitment"
    port = "none" if settings.commitment_port is None else settings.commitment_port
    title = "as each destination says"
    yield line("entities", "sender", title, port, does, shown_by=_REPORTED)


def _services() -> Iterator[StatedLine]:
    def one(service: str, uid: str, operations: str, shown_by: str) -> StatedLine:
        return line("services", service, name_of(uid), uid, _SCU, operations, shown_by=shown_by)

    yield one("Verification", VERIFICATION, "C-ECHO", _ECHOED)
    yield line("services", "Storage", _CLASSES, "", _SCU, "C-STORE", shown_by=_SENT)
    yield one("Query", STUDY_ROOT_FIND, "C-FIND, C-CANCEL", _ASKED)
    yield one("Retrieve", STUDY_ROOT_MOVE, "C-MOVE, C-CANCEL", _FETCHED)
    yield one("Retrieve", STUDY_ROOT_GET, "C-GET, C-CANCEL, C-STORE as SCP", _FETCHED)
    yield one("Modality worklist", MODALITY_WORKLIST_FIND, "C-FIND, C-CANCEL", _LISTED)
    yield one("Performed procedure step", PROCEDURE_STEP, "N-CREATE, N-SET", _STEP)
    report = "N-ACTION, N-EVENT-REPORT"
    yield one("Storage commitment", STORAGE_COMMITMENT, report, _COMMITTED)
    yield one("Instance availability", NOTIFICATION, "N-CREATE", _NOTICE)


def _proposals() -> Iterator[StatedLine]:
    def one(activity: str, uid: str, syntaxes: str, role: str, shown_by: str) -> StatedLine:
        return line("proposals", activity, name_of(uid), uid, syntaxes, role, shown_by=shown_by)

    implicit = name_of(IMPLICIT_VR_LITTLE_ENDIAN)
    yield one("Echo", VERIFICATION, implicit, _SCU, _ECHOED)
    offered = f"{_PROPOSED}::test_the_default_syntax_is_offered_beside_what_is_stored"
    yield line("proposals", "Send", _CLASSES, "", _AS_STORED, _SCU, shown_by=offered)
    yield line(
        "proposals",
        "Send, to whom no context suits",
        _CLASSES,
        "",
        _PLAIN,
        _SCU,
        shown_by=f"{_PROPOSED}::test_it_is_made_over_for_whom_no_context_suits",
    )
    yield one("Query", STUDY_ROOT_FIND, _PLAIN, _SCU, _ASKED)
    yield one("Query of a worklist", MODALITY_WORKLIST_FIND, _PLAIN, _SCU, _LISTED)
    yield one("Retrieve by C-MOVE", STUDY_ROOT_MOVE, _PLAIN, _SCU, _FETCHED)
    yield one("Retrieve by C-GET", STUDY_ROOT_GET, _PLAIN, _SCU, _FETCHED)
    every = "each of the table of transfer syntaxes, as far as 128 contexts go"
    yield line(
        "proposals",
        "Retrieve by C-GET",
        "storage SOP classes that the node has of the study",
        "",
        every,
        "SCP",
        shown_by=_FETCHED,
    )
    yield one("Ask for commitment", STORAGE_COMMITMENT, _PLAIN, _SCU, _COMMITTED)
    yield one("Report commitment", STORAGE_COMMITMENT, _PLAIN, "SCP", _CALLED)
    yield one("Tell of a procedure step", PROCEDURE_STEP, _PLAIN, _SCU, _STEP)
    yield one("Tell of availability", NOTIFICATION, _PLAIN, _SCU, _NOTICE)


def _door(settings: TransmitSettings) -> Iterator[StatedLine]:
    if settings.commitment_port is None:
        return
    for uid in (VERIFICATION, STORAGE_COMMITMENT):
        role = "SCU" if uid == VERIFICATION else "SCU or SCP"
        about = (settings.commitment_port, name_of(uid), uid, _PLAIN, role, "")
        yield line("contexts", *about, shown_by=_NEGOTIATED)


def _keys(model: str, level: str, keys: Dataset, shown_by: str) -> Iterator[StatedLine]:
    """Yield the attributes of an identifier, those of items after their sequence."""
    for element in keys:
        keyword, tag, vr = attribute(element.keyword)
        yield line("query_scu", model, level, keyword, tag, _use(keyword), shown_by=shown_by)
        if vr == "SQ":
            for item in element.value:
                for inner in _keys(model, level, item, shown_by):
                    _, _, name, under, use = inner.cells
                    cells = (model, level, f"{keyword} > {name}", f"{tag} > {under}", use)
                    yield line("query_scu", *cells, shown_by=shown_by)


def _use(keyword: str) -> str:
    return "the level" if keyword == "QueryRetrieveLevel" else "asked for; a key where one is given"


def _queries() -> Iterator[StatedLine]:
    study = {"StudyInstanceUID": "1.2"}
    for level, keys in (
        ("study", {}),
        ("series", study),
        ("image", study | {"SeriesInstanceUID": "1.2"}),
    ):
        asked = RemoteQuery.model_validate({"level": level, "keys": keys})
        found = study_root_identifier(asked)
        yield from _keys("Study root", level.upper(), found, _ASKED)
    yield from _keys("Modality worklist", "", worklist_identifier(WorklistQuery()), _LISTED)


def _steps() -> Iterator[StatedLine]:
    """Yield what is told of a step, from what is made of one."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    step = NewProcedureStep(
        modality="CT",
        performed_procedure_step_id="1",
        study_instance_uid="1.2",
        issuer_of_patient_id="1",
    )
    series = PerformedSeries(series_instance_uid="1.3", protocol_name="1", images=())
    reason = DiscontinuationReason(code="110500", meaning="1")
    changes = (
        ProcedureStepChange(status="COMPLETED", series=(series,), description="1"),
        ProcedureStepChange(status="DISCONTINUED", discontinuation_reason=reason),
    )
    begun = {one.keyword for one in created(step, station="X", started=now)}
    went_on: dict[str, str] = {}
    for change, test in zip(changes, (_STEP, _ENDED), strict=True):
        for one in changed(change, ended=now, stored={}):
            went_on.setdefault(one.keyword, test)
    for keyword in sorted({*begun, *went_on}, key=lambda one: attribute(one)[1]):
        cells = (YES if keyword in begun else NO, YES if keyword in went_on else NO)
        test = _STEP if keyword in begun else went_on[keyword]
        yield line("steps", _SCU, *attribute(keyword)[:2], *cells, shown_by=test)


def _commitment() -> Iterator[StatedLine]:
    asked = "Storage commitment"
    for service, said, shown_by in (
        (asked, "Asked for what a destination was sent, where it is set so", _COMMITTED),
        (asked, "The report is taken on the association that has asked", _COMMITTED),
        (asked, "The report is taken on one that the destination opens", _REPORTED),
        (
            asked,
            "What is not committed is sent again",
            f"{_HERE}/test_commitment.py::test_what_is_not_committed_is_sent_again",
        ),
        (
            asked,
            "Silence is asked about again, and comes to an end",
            f"{_HERE}/test_commitment.py::test_silence_is_told_and_comes_to_an_end",
        ),
        ("Instance availability", "Told of each study once, ONLINE", _NOTICE),
        (
            "Instance availability",
            "Told again until it is heard",
            f"{_HERE}/test_notices.py::test_it_is_told_again_until_it_is_heard",
        ),
    ):
        yield line("commitment", service, _SCU, said, shown_by=shown_by)


_DONE: Final = {
    Verdict.SENT: "it is there",
    Verdict.WARNED: "it is there; what was said is kept and shown",
    Verdict.RETRY: "it is sent again later",
    Verdict.FAILED: "it has failed, until somebody has it sent again",
}
_HEEDED: Final = (
    (0x0000, "0000"),
    (0x0107, "0107"),
    (0x0111, "0111"),
    (0x0116, "0116"),
    (0xB000, "Bxxx"),
    (0x0110, "0110"),
    (0x0210, "0210"),
    (0x0213, "0213"),
    (0xA700, "A7xx"),
    (0x0117, "0117"),
    (0x0122, "0122"),
    (0x0124, "0124"),
    (0xA900, "A9xx"),
    (0xC000, "Cxxx"),
)


def _statuses() -> Iterator[StatedLine]:
    for status, said in _HEEDED:
        done = _DONE[classify(status, IMPLICIT_VR_LITTLE_ENDIAN).verdict]
        yield line("heeded", "C-STORE", said, done, shown_by=_STATUSES)


def _security(settings: TransmitSettings) -> Iterator[StatedLine]:
    where = "DICOM and STOW-RS, as requestor"
    tls = f"{_HERE}/test_destinations.py::test_images_go_over_tls_to_whom_the_authority_knows"
    own = "none" if settings.dicom_tls_certificate is None else "shown to who asks for one"
    profile = "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile"
    yield line("security", profile, where, "as each destination says", shown_by=tls)
    yield line("security", "Our certificate", where, own, shown_by=tls)
    hidden = f"{_HERE}/test_preparation.py::test_objects_leave_without_names_and_twice_alike"
    said = ("objects that are sent", "as each destination says")
    name = "Basic Application Level Confidentiality Profile"
    yield line("deidentification", name, "113100", *said, shown_by=hidden)
    for option, coded in OPTIONS.items():
        if coded:  # one of ours has no code, and is no option of the standard
            test = _OF_OPTIONS.get(option, "test_options_keep_what_they_name")
            shown_by = f"tests/unit/transmit/test_deidentify.py::{test}"
            yield line("deidentification", coded[1], coded[0], *said, shown_by=shown_by)


def _configuration(settings: TransmitSettings) -> Iterable[StatedLine]:
    wanted = {f"DARKROOM_{name.upper()}" for name in _SETTINGS}
    for one in shown(settings):
        if one.name in wanted:
            default = YES if one.is_default else NO
            about = (one.name, one.value, default, one.description)
            yield line("settings", *about, shown_by=_TOLD)
