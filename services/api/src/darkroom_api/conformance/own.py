"""What the api says of itself: DICOMweb, objects that are made, and what protects them."""

from collections.abc import Iterable, Iterator
from typing import Final

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from darkroom_api.objects.exchange import Kind
from darkroom_api.settings import ApiSettings
from darkroom_common.conformance.lines import NO, YES, StatedLine, line, name_of
from darkroom_common.settings_in_force import shown

_HERE: Final = "tests/integration/api"
_WORKITEMS: Final = "tests/integration/ingest/workitems"
_TOLD: Final = f"{_HERE}/test_api_desk.py::test_settings_are_shown_without_what_is_secret"
_BASE: Final = "/dicom-web"
_LEVELS: Final = f"{_HERE}/test_api_retrieve.py::test_objects_come_back_byte_for_byte_at_each_level"
_RENDERED: Final = f"{_HERE}/rendering/test_rendered.py::test_media_types_and_levels"
_VALUES: Final = (
    "tests/unit/api/retrieving/test_retrieving_frames.py::test_pixel_data_and_bulk_data_of_a_series"
)
_BECOMING: Final = (
    f"{_WORKITEMS}/test_becoming.py::test_every_transition_is_answered_as_the_standard_says"
)
_REPORTED: Final = f"{_WORKITEMS}/test_reports.py::test_subscribers_are_told_of_what_concerns_them"
_WORKITEM: Final = f"{_WORKITEMS}/test_workitems.py::test_a_workitem_is_created_retrieved_and_found"
_SEARCHED: Final = f"{_HERE}/test_api_qido.py::test_standard_parameters"
_CHANGED: Final = (
    f"{_HERE}/storing/test_changes.py::test_metadata_of_a_study_are_changed_by_put_and_patch"
)
_CAPABILITIES: Final = (
    "tests/unit/api/retrieving/test_retrieving_objects.py::test_capabilities_list_every_resource"
)
_WAYS: Final = (  # method, how the path ends (without a slash in front: holds), service, test
    ("OPTIONS", "", "Capabilities", _CAPABILITIES),
    ("*", "/subscribers", "UPS-RS", _REPORTED),
    ("*", "/state", "UPS-RS", _BECOMING),
    ("*", "/cancelrequest", "UPS-RS", _BECOMING),
    ("*", "/workitems", "UPS-RS", _WORKITEM),
    (
        "GET",
        "/wado",
        "WADO-URI",
        "tests/unit/api/retrieving/test_retrieving_by_uri.py::test_objects_and_images",
    ),
    ("GET", "/rendered", "WADO-RS, rendered", _RENDERED),
    ("GET", "/thumbnail", "WADO-RS, rendered", _RENDERED),
    (
        "GET",
        "/metadata",
        "WADO-RS, metadata",
        "tests/unit/api/retrieving/test_metadata_forms.py::test_every_level_in_both_forms",
    ),
    (
        "GET",
        "/frames",
        "WADO-RS, frames",
        f"{_HERE}/rendering/test_transcoded.py::test_frames_in_every_media_type_have_equal_pixels",
    ),
    (
        "GET",
        "/bulkdata/",
        "WADO-RS, bulk data",
        f"{_HERE}/test_api_retrieve.py::test_bulk_data_by_path_and_by_range",
    ),
    ("GET", "/pixeldata", "WADO-RS, bulk data", _VALUES),
    ("GET", "/bulkdata", "WADO-RS, bulk data", _VALUES),
    (
        "DELETE",
        "",
        "Deletion",
        f"{_HERE}/storing/test_changes.py::test_an_instance_a_series_and_the_study_are_deleted",
    ),
    (
        "POST",
        "",
        "STOW-RS",
        f"{_HERE}/storing/test_objects.py::test_a_study_is_stored_and_comes_back_bit_for_bit",
    ),
    ("PUT", "", "Update of a study", _CHANGED),
    ("PATCH", "", "Update of a study", _CHANGED),
)
_SEARCHES: Final = ("/patients", "/studies", "/series", "/instances")
_BUILT: Final = (
    "tests/unit/api/making/test_every_option.py::test_each_sop_class_that_is_stated_is_made"
)
_SR: Final = "1.2.840.10008.5.1.4.1.1.88"
OBJECTS: Final[dict[Kind, tuple[tuple[str, ...], str, str]]] = {
    Kind.SECONDARY_CAPTURE: (
        (
            "1.2.840.10008.5.1.4.1.1.7",
            "1.2.840.10008.5.1.4.1.1.7.2",
            "1.2.840.10008.5.1.4.1.1.7.3",
            "1.2.840.10008.5.1.4.1.1.7.4",
        ),
        "a picture: JPEG, PNG, TIFF, BMP",
        _BUILT,
    ),
    Kind.PDF: (("1.2.840.10008.5.1.4.1.1.104.1",), "a PDF document", _BUILT),
    Kind.CLINICAL_DOCUMENT: (("1.2.840.10008.5.1.4.1.1.104.2",), "an HL7 CDA document", _BUILT),
    Kind.MODEL: (("1.2.840.10008.5.1.4.1.1.104.3",), "a model in binary STL", _BUILT),
    Kind.DX: (
        ("1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1"),
        "a grey picture and values",
        _BUILT,
    ),
    Kind.CR: (("1.2.840.10008.5.1.4.1.1.1",), "a grey picture and values", _BUILT),
    Kind.PRESENTATION_STATE: (("1.2.840.10008.5.1.4.1.1.11.1",), "values", _BUILT),
    Kind.KEY_OBJECTS: ((f"{_SR}.59",), "values", _BUILT),
    Kind.TEXT_REPORT: ((f"{_SR}.11",), "values", _BUILT),
    Kind.DOSE_REPORT: ((f"{_SR}.67",), "values", _BUILT),
}
"""SOP classes of what is made, of what it is made, and the test that shows it."""
_TEMPLATES: Final = (  # of PS3.16, of the documents that are made here
    ("TID 2010", "Key Object Selection", Kind.KEY_OBJECTS),
    ("TID 2000", "Basic Diagnostic Imaging Report", Kind.TEXT_REPORT),
    ("TID 10001", "Projection X-Ray Radiation Dose", Kind.DOSE_REPORT),
)
_FOLLOWED: Final = "tests/unit/api/making/test_templates.py::test_each_row_is_as_the_template_says"
_SETTINGS: Final = (
    "public_url",
    "stow_limit",
    "search_limit",
    "instance_search_limit",
    "uid_root",
    "dose_report_minutes",
)


def stated(settings: ApiSettings, routes: Iterable[BaseRoute]) -> tuple[StatedLine, ...]:
    """Return every line about the api.

    Raises:
        LookupError: a resource of DICOMweb is not known here.
    """
    return (*_web(routes), *_objects(), *_security(settings), *_configuration(settings))


def _web(routes: Iterable[BaseRoute]) -> Iterator[StatedLine]:
    yield line(
        "entities",
        "web",
        "DICOMWEB, as the source of what is stored by STOW-RS",
        "HTTP or HTTPS",
        "serves DICOMweb, REST and the console",
        shown_by=f"{_HERE}/storing/test_objects.py"
        "::test_it_comes_from_the_ae_title_that_rules_can_name",
    )
    for route in routes:
        served = isinstance(route, APIRoute) and route.include_in_schema
        if not served or not isinstance(route, APIRoute) or not route.path.startswith(_BASE):
            continue
        path = route.path.removeprefix(_BASE).replace(":path}", "}") or "(the base itself)"
        for method in sorted(route.methods or ()):
            service, shown_by = _way(method, path)
            answers = sorted(
                {
                    kind
                    for status, answer in route.responses.items()
                    if str(status).startswith("2")
                    for kind in answer.get("content", ())
                }
            )
            takes = (route.openapi_extra or {}).get("requestBody", {}).get("content", ())
            cells = (service, method, path, ", ".join(answers), ", ".join(takes))
            yield line("web", *cells, shown_by=shown_by)


def _way(method: str, path: str) -> tuple[str, str]:
    for wanted, part, service, shown_by in _WAYS:
        if wanted in (method, "*") and part in path:
            return service, shown_by
    if method != "GET":
        raise LookupError(f"{method} {path} is in no line of the conformance statement")
    if path.endswith(_SEARCHES):
        return "QIDO-RS", _SEARCHED
    return "WADO-RS, objects", _LEVELS


def _objects() -> Iterator[StatedLine]:
    for template, name, kind in _TEMPLATES:
        sop_class = name_of(OBJECTS[kind][0][0])
        yield line("templates", template, name, sop_class, "made", shown_by=_FOLLOWED)
    for kind in Kind:
        uids, made_of, shown_by = OBJECTS[kind]
        for uid in uids:
            yield line("objects", kind.value, name_of(uid), uid, made_of, shown_by=shown_by)


def _security(settings: ApiSettings) -> Iterator[StatedLine]:
    def one(what: str, where: str, state: str, shown_by: str) -> StatedLine:
        return line("security", what, where, state, shown_by=shown_by)

    https = settings.http_tls
    state = "not served: a proxy has it, or nobody" if https is None else f"TLS {https.minimum}"
    shown_by = (
        f"{_HERE}/test_api_https.py::test_https_takes_a_renewed_certificate_and_no_plain_text"
    )
    yield one("HTTPS", "DICOMweb and REST, as origin server", state, shown_by)
    yield one(
        "Signing in: tokens of sessions, API keys",
        "DICOMweb and REST",
        "needed" if settings.ff_auth_enabled else "off",
        "tests/e2e/test_first_image.py::test_nothing_is_open_without_a_login",
    )
    provider = "none" if settings.oidc_issuer is None else "in use"
    oidc = (
        f"{_HERE}/accounts/test_oidc.py::test_somebody_signs_in_and_has_the_roles_of_their_groups"
    )
    yield one("OpenID Connect", "DICOMweb and REST", provider, oidc)
    log = "on" if settings.ff_audit_enabled else "off"
    sent = "off: no ATNA_REPOSITORY" if settings.atna_repository is None else "on"
    message = f"{_HERE}/audit/test_atna.py::test_every_action_is_a_message_of_the_standards_form"
    yield one(
        "Audit log, chained and signed",
        "every service",
        log,
        f"{_HERE}/audit/test_tampering.py::test_a_changed_row_is_named",
    )
    yield one("Audit Trail Message Format Profile", "audit record repository", sent, message)
    yield one(
        "Audit Trail Message Transmission Profile - SYSLOG-TLS",
        "audit record repository",
        sent,
        f"{_HERE}/audit/test_rsyslog.py::test_rsyslogd_that_is_killed_gets_everything_in_order",
    )


def _configuration(settings: ApiSettings) -> Iterator[StatedLine]:
    wanted = {f"DARKROOM_{name.upper()}" for name in _SETTINGS}
    for one in shown(settings):
        if one.name in wanted:
            default = YES if one.is_default else NO
            about = (one.name, one.value, default, one.description)
            yield line("settings", *about, shown_by=_TOLD)
