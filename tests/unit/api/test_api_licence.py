"""What a licence refuses: new administrative work, with the true reason, and nothing else."""

import ast
from pathlib import Path

import pytest

from darkroom_api.accounts.access import ACCESS
from darkroom_api.accounts.permissions import Permission
from darkroom_api.licence.decision import NEW_WORK, refusal
from darkroom_common.messages.events import LicenceChecked

SERVICES = Path(__file__).parents[3] / "services"
READ_ONLY = LicenceChecked(state="expired", reason="The licence ends on Friday.", read_only=True)
ADMINISTRATION = {
    Permission.DESTINATIONS_WRITE,
    Permission.PRINTERS_WRITE,
    Permission.USERS_WRITE,
    Permission.CALLBACKS_WRITE,
}


def test_all_that_can_be_refused_adds_configuration_and_is_no_route_of_patients() -> None:
    assert NEW_WORK.keys() <= ACCESS.keys()
    for method, path in NEW_WORK:
        assert method in ("POST", "PUT")
        access = ACCESS[method, path]
        assert access in ADMINISTRATION or path == "/api/v1/api-keys"
    refused = {path for _, path in NEW_WORK}
    assert not any(
        word in path
        for path in refused
        for word in ("stud", "dicom-web", "jobs", "senders", "auth", "export", "remote")
    )


@pytest.mark.parametrize("work", NEW_WORK.values(), ids=lambda one: one.noun)
def test_read_only_refuses_all_of_it_with_the_true_reason(work: object) -> None:
    assert refusal(READ_ONLY, work, 0) == "The licence ends on Friday."  # type: ignore[arg-type]
    assert refusal(None, work, 10**6) == ""  # type: ignore[arg-type]
    community = LicenceChecked(state="unconfigured", reason="community")
    assert refusal(community, work, 10**6) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["destinations", "printers", "users"])
def test_a_limit_is_reached_and_not_before(kind: str) -> None:
    licence = LicenceChecked(state="valid", entitlements={kind: 2})
    work = next(one for one in NEW_WORK.values() if one.counted == kind)
    assert refusal(licence, work, 1) == ""
    assert refusal(licence, work, 2) == f"The licence is for 2 {kind}, and there are 2."
    for other in (one for one in NEW_WORK.values() if one.counted != kind):
        assert refusal(licence, other, 9) == ""


def test_what_needs_a_feature_is_refused_without_it() -> None:
    for features, refused in (((), True), (("rules",), False), (("*",), False)):
        licence = LicenceChecked(state="valid", features=features)
        text = refusal(licence, NEW_WORK["POST", "/api/v1/rules"], 0)
        assert text == ("The licence does not include rules." if refused else "")


@pytest.mark.parametrize("service", ["ingest", "metadata", "transmit", "print"])
def test_no_service_that_carries_patient_data_knows_of_the_licence(service: str) -> None:
    names: set[str] = set()
    for file in (SERVICES / service / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Import() | ast.ImportFrom():
                    names |= {one.name for one in node.names}
                case ast.Constant(value=str(text)) if " " in text and "licensing." in text:
                    names.add(text)
    assert not {one for one in names if "icence" in one or "licensing" in one}
