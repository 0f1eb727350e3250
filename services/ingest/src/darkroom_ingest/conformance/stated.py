"""All that ingest says of itself, as it is registered and set."""

from collections.abc import Iterable, Iterator
from typing import Final

from darkroom_common.conformance.lines import StatedLine, is_retired, line, name_of
from darkroom_common.dicom.charset import UTF_8
from darkroom_common.dicom.code_extensions import ROMAJI, SETS
from darkroom_common.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from darkroom_common.dicom.syntaxes import ENCODABLE
from darkroom_common.dimse.contexts import VERIFICATION, storage_sop_classes, transfer_syntaxes
from darkroom_common.dimse.users.commitment import STORAGE_COMMITMENT
from darkroom_common.dimse.users.find import MODALITY_WORKLIST_FIND
from darkroom_common.dimse.wire.association_items import IMPLICIT_VR_LITTLE_ENDIAN
from darkroom_common.dimse.wire.data_set import SYNTAXES
from darkroom_common.settings_in_force import shown
from darkroom_common.transcoding.converted import NATIVE_TARGETS
from darkroom_ingest.answering import named
from darkroom_ingest.answering.identifier import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT
from darkroom_ingest.conformance.attributes import query, steps, worklist
from darkroom_ingest.conformance.statuses import statuses
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.worklist.steps import PERFORMED_STEP, RETRIEVE

_HERE: Final = "tests/integration/ingest"
NEGOTIATED: Final = "tests/e2e/test_conformance.py::test_a_peer_negotiates_what_is_stated"
STORED: Final = "tests/e2e/test_conformance.py::test_an_object_of_every_storage_class_is_stored"
_SYNTAX: Final = (
    "tests/integration/api/storing/test_objects.py"
    "::test_every_transfer_syntax_is_stored_found_and_returned"
)
_FIND: Final = f"{_HERE}/test_find.py::test_answers_have_what_was_asked_for"
_GET: Final = f"{_HERE}/test_get.py::test_every_level_comes_as_it_is_stored"
_WRITTEN: Final = (
    "tests/integration/api/rendering/test_transcoded.py"
    "::test_objects_in_every_transfer_syntax_have_equal_pixels"
)
_MOVE: Final = f"{_HERE}/test_move.py::test_every_level_is_sent_as_it_is_stored"
_COMMITTED: Final = f"{_HERE}/test_commitment.py::test_it_is_told_on_the_association_that_has_asked"
_CALLED: Final = f"{_HERE}/test_commitment.py::test_whoever_releases_is_called_until_it_takes_it"
_WORKLIST: Final = f"{_HERE}/test_worklist.py::test_entries_are_found_as_they_are_asked_for"
_STEP: Final = f"{_HERE}/test_worklist.py::test_a_step_is_performed"
_ECHO: Final = "tests/e2e/test_first_image.py::test_echo_answers"
_TOLD: Final = (
    "tests/integration/api/test_api_desk.py::test_settings_are_shown_without_what_is_secret"
)
_CHARACTERS: Final = (
    "tests/unit/common/test_charset.py::test_every_set_that_is_stated_is_read_and_written"
)
_SETTINGS: Final = (
    "ae_title",
    "dicom_plain",
    "dicom_port",
    "dicom_tls_port",
    "require_called_ae_title",
    "unknown_ae",
    "max_associations",
    "max_associations_per_host",
    "max_pdu",
    "max_object_bytes",
    "strict_uids",
    "private_sop_classes",
    "query_relational",
    "query_fuzzy",
    "query_answers",
    "retrieve_instances",
    "retrieve_bytes",
    "commitment_instances",
)
_FIND_AGREES: Final = "relational queries, date and time combined, fuzzy names"
_RELATIONAL: Final = "relational retrieval"
_SCU: Final = "SCU"
_BOTH: Final = "SCU, or SCP for C-GET"


def stated(settings: IngestSettings) -> tuple[StatedLine, ...]:
    """Return every line about ingest."""
    return (
        *_entities(settings),
        *_services(settings),
        *_storage(settings),
        *_syntaxes(),
        *_contexts(settings),
        *_associations(settings),
        *(() if settings.phi_keys is None else (*query(), *worklist(), *steps())),
        *statuses(answers=settings.phi_keys is not None),
        *_commitment(settings),
        *_characters(),
        *_security(settings),
        *_configuration(settings),
    )


def _ports(settings: IngestSettings) -> str:
    plain = [str(settings.dicom_port)] if settings.dicom_plain else []
    return ", ".join([*plain, *([f"{settings.dicom_tls_port} TLS"] if settings.tls else [])])


def _entities(settings: IngestSettings) -> Iterator[StatedLine]:
    does = "receives and keeps objects"
    if settings.phi_keys is not None:
        does += "; answers queries, retrievals, requests for commitment, worklist and MPPS"
    yield line(
        "entities", "archive", settings.ae_title, _ports(settings), does, shown_by=NEGOTIATED
    )


def _services(settings: IngestSettings) -> Iterator[StatedLine]:
    def one(service: str, uid: str, operations: str, shown_by: str) -> StatedLine:
        return line("services", service, name_of(uid), uid, "SCP", operations, shown_by=shown_by)

    yield one("Verification", VERIFICATION, "C-ECHO", _ECHO)
    yield line(
        "services",
        "Storage",
        "each of the table of storage SOP classes",
        "",
        "SCP",
        "C-STORE, level 2 (full)",
        shown_by=STORED,
    )
    if settings.phi_keys is None:
        return
    for uid in (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY):
        yield one("Query", uid, "C-FIND, C-CANCEL", _FIND)
    for model in named.MODELS:
        yield one("Retrieve", model["get"], "C-GET, C-CANCEL, C-STORE as SCU", _GET)
        yield one("Retrieve", model["move"], "C-MOVE, C-CANCEL", _MOVE)
    yield one("Storage commitment", STORAGE_COMMITMENT, "N-ACTION, N-EVENT-REPORT", _COMMITTED)
    yield one("Modality worklist", MODALITY_WORKLIST_FIND, "C-FIND, C-CANCEL", _WORKLIST)
    yield one("Performed procedure step", PERFORMED_STEP, "N-CREATE, N-SET", _STEP)
    yield one("Performed procedure step", RETRIEVE, "N-GET", _STEP)


def storage_classes(settings: IngestSettings) -> list[str]:
    """Return the UIDs of all SOP classes whose objects are received."""
    return sorted({*storage_sop_classes(), *settings.private_sop_classes})


def _storage(settings: IngestSettings) -> Iterator[StatedLine]:
    standard = {*storage_sop_classes()}
    for uid in storage_classes(settings):
        remark = "retired" if is_retired(uid) else "" if uid in standard else "by configuration"
        yield line("storage", name_of(uid), uid, remark, shown_by=STORED)


def _syntaxes() -> Iterator[StatedLine]:
    for uid in transfer_syntaxes():
        written = uid in ENCODABLE or uid in NATIVE_TARGETS
        yield line(
            "syntaxes",
            name_of(uid),
            uid,
            "yes",
            "yes" if written else "no",
            shown_by=_WRITTEN if written else _SYNTAX,
        )


def contexts(settings: IngestSettings) -> Iterator[tuple[str, tuple[str, ...], str, str]]:
    """Yield what is accepted: SOP class, transfer syntaxes, whoever calls may be, extended."""
    every = tuple(transfer_syntaxes())
    answers = settings.phi_keys is not None
    yield VERIFICATION, tuple(dict.fromkeys((IMPLICIT_VR_LITTLE_ENDIAN, *every))), _SCU, ""
    for uid in storage_classes(settings):
        yield uid, every, _BOTH if answers else _SCU, ""
    if not answers:
        return
    for uid in (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY, MODALITY_WORKLIST_FIND):
        yield uid, SYNTAXES, _SCU, _FIND_AGREES
    for model in named.MODELS:
        for how in ("get", "move"):
            yield model[how], SYNTAXES, _SCU, _RELATIONAL
    for uid in (STORAGE_COMMITMENT, PERFORMED_STEP, RETRIEVE):
        yield uid, SYNTAXES, _SCU, ""


def _contexts(settings: IngestSettings) -> Iterator[StatedLine]:
    every, ports, is_told = tuple(transfer_syntaxes()), _ports(settings), False
    for uid, syntaxes, role, extended in contexts(settings):
        if uid in storage_classes(settings):
            if is_told:
                continue
            is_told = True
            names = ("each of the table of storage SOP classes", "")
        else:
            names = (name_of(uid), uid)
        said = (
            "each of the table of transfer syntaxes, in its order"
            if set(syntaxes) == set(every)
            else ", ".join(map(name_of, syntaxes))
        )
        if uid == VERIFICATION:
            said = f"{name_of(IMPLICIT_VR_LITTLE_ENDIAN)}, then {said}"
        yield line("contexts", ports, *names, said, role, extended, shown_by=NEGOTIATED)


def _associations(settings: IngestSettings) -> Iterator[StatedLine]:
    def one(what: str, value: object, shown_by: str) -> StatedLine:
        return line("association", "archive", what, value, shown_by=shown_by)

    door = f"{_HERE}/test_front_door.py"
    pdu = "tests/unit/common/dimse"
    yield one(
        "Application context",
        "1.2.840.10008.3.1.1.1",
        f"{pdu}/test_negotiation.py::test_a_foreign_application_context_is_rejected",
    )
    yield one("Implementation class UID", IMPLEMENTATION_CLASS_UID, NEGOTIATED)
    yield one("Implementation version name", IMPLEMENTATION_VERSION_NAME, NEGOTIATED)
    yield one("Longest PDU that is taken, bytes", settings.max_pdu, NEGOTIATED)
    yield one("Associations at a time", settings.max_associations, f"{door}::test_rejections")
    yield one(
        "Associations of one host at a time",
        settings.max_associations_per_host,
        f"{_HERE}/test_senders.py"
        "::test_limits_count_over_all_processes_and_another_program_is_told",
    )
    yield one(
        "Seconds for an association request",
        f"{settings.request_seconds:g}",
        f"{door}::test_a_silent_stranger_is_shown_out",
    )
    yield one(
        "Seconds without a byte within a PDU",
        f"{settings.stall_seconds:g}",
        f"{door}::test_a_stall_within_a_pdu_ends_the_association",
    )
    yield one(
        "Seconds between PDUs",
        f"{settings.idle_seconds:g}",
        f"{door}::test_an_idle_association_is_ended",
    )
    yield one("Asynchronous operations window", "1 invoked, 1 performed", NEGOTIATED)
    yield one("SOP class common extended negotiation", "not negotiated", NEGOTIATED)
    yield one("User identity negotiation", "not answered", NEGOTIATED)
    called = settings.ae_title if settings.require_called_ae_title else "any"
    yield one(
        "Called AE title",
        called,
        "tests/e2e/test_first_image.py::test_a_called_title_is_checked_only_where_it_is_asked_for",
    )
    callers = {
        "reject": "those of the list of senders",
        "nearby": "those of the list of senders; while it is empty, those of private networks",
        "accept": "any",
    }
    yield one(
        "Calling AE titles",
        callers[settings.unknown_ae],
        f"{_HERE}/test_senders.py::test_each_rule_takes_effect_while_ingest_runs",
    )


def _commitment(settings: IngestSettings) -> Iterator[StatedLine]:
    if settings.phi_keys is None:
        return
    for said, shown_by in (
        ("Told on the association that has asked while it stays open (10 s)", _COMMITTED),
        ("Else on an association of our own, tried again for days", _CALLED),
        ("Failure reasons 0110, 0112 and 0119", _COMMITTED),
        (
            "A request outlives restarts of every service",
            f"{_HERE}/test_commitment.py::test_it_survives_restarts_and_limits_hold",
        ),
    ):
        yield line("commitment", "Storage commitment", "SCP", said, shown_by=shown_by)


def _characters() -> Iterator[StatedLine]:
    for number in sorted(SETS):
        if number == ROMAJI.number:  # of ISO_IR 13, and none of its own
            continue
        extended = f"ISO 2022 IR {number}"
        alone = extended if SETS[number].width > 1 else f"ISO_IR {number}"
        yield line("characters", alone, extended, "yes", "yes", shown_by=_CHARACTERS)
    for term in (UTF_8, "GB18030", "GBK"):
        yield line("characters", term, "", "yes", "yes", shown_by=_CHARACTERS)


def _security(settings: IngestSettings) -> Iterator[StatedLine]:
    tls = settings.tls
    here = f"{_HERE}/test_tls.py"

    def one(what: str, state: str, shown_by: str) -> StatedLine:
        return line("security", what, "DICOM, as acceptor", state, shown_by=shown_by)

    profile = "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile"
    off = "not served: no DICOM_TLS_CERTIFICATE"
    weak = f"{here}::test_old_versions_and_weak_ciphers_are_refused"
    yield one(profile, off if tls is None else f"port {settings.dicom_tls_port}", weak)
    if tls is not None:
        yield one("Least version of TLS", tls.minimum, f"{here}::test_the_minimum_is_a_setting")
        yield one("Certificates of senders", tls.clients, f"{here}::test_mutual_tls")
        yield one(
            "A sender may be bound to its certificate",
            "as the list of senders says",
            f"{here}::test_a_sender_may_be_bound_to_its_certificate",
        )
    yield one(
        "DICOM without TLS",
        f"port {settings.dicom_port}" if settings.dicom_plain else "not served",
        "tests/e2e/test_encrypted.py::test_every_port_speaks_new_tls_and_nothing_plain",
    )
    yield one(
        "List of senders: AE title, address, what it may ask for",
        settings.unknown_ae,
        f"{_HERE}/test_senders.py::test_each_rule_takes_effect_while_ingest_runs",
    )


def _configuration(settings: IngestSettings) -> Iterable[StatedLine]:
    wanted = {f"DARKROOM_{name.upper()}" for name in _SETTINGS}
    for one in shown(settings):
        if one.name in wanted:
            yield line(
                "settings",
                one.name,
                one.value,
                "yes" if one.is_default else "no",
                one.description,
                shown_by=_TOLD,
            )
