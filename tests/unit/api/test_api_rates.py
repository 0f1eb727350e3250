"""Rate limits: which route counts for what, and when who was refused may come again."""

from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_api.accounts.access import ACCESS
from darkroom_api.rates.classes import Class, class_of
from darkroom_api.rates.window import Window
from darkroom_api.settings import ApiSettings

COUNTS = st.integers(0, 50)


@pytest.mark.req("API-04")
def test_every_route_is_of_one_class() -> None:
    found = {(m, p): class_of(m, p, access) for (m, p), access in ACCESS.items()}
    assert found["GET", "/livez"] is Class.FREE
    assert found["GET", "/metrics/{service}"] is Class.FREE
    assert found["POST", "/api/v1/auth/login"] is Class.LOGIN
    assert found["POST", "/api/v1/auth/refresh"] is Class.ANONYMOUS
    assert found["GET", "/openapi.json"] is Class.ANONYMOUS
    assert found["GET", "/api/v1/transmit/jobs/{job}"] is Class.POLLING
    assert found["GET", "/api/v1/print/jobs"] is Class.POLLING
    assert {
        class_of("GET", path, ACCESS["GET", path])
        for method, path in ACCESS
        if method == "GET" and path.startswith("/api/v1/") and path.endswith("/{job}")
    } == {Class.POLLING}
    assert found["POST", "/api/v1/transmit/jobs"] is Class.DEFAULT
    assert found["POST", "/api/v1/print/jobs/{job}/retry"] is Class.DEFAULT
    assert found["GET", "/api/v1/studies"] is Class.DEFAULT
    dicomweb = {
        kind
        for (method, path), kind in found.items()
        if path.startswith("/dicom-web")
        and method != "OPTIONS"
        and path != "/dicom-web/subscribers/{ae_title}"
    }
    assert found["GET", "/dicom-web/subscribers/{ae_title}"] is Class.DEFAULT
    assert dicomweb == {Class.DICOMWEB}
    assert found["OPTIONS", "/dicom-web/"] is Class.ANONYMOUS


@pytest.mark.req("API-04")
def test_limits_are_those_that_were_asked_for_unless_a_setting_says_otherwise() -> None:
    fields = ApiSettings.model_fields
    assert {
        name: fields[f"limit_{name}"].default
        for name in ("default", "login", "exports", "bulk", "anonymous")
    } == {
        "default": "1000/hour",
        "login": "5/minute",
        "exports": "10/hour",
        "bulk": "100/hour",
        "anonymous": "100/hour",
    }


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v1/studies/export", Class.EXPORTS),
        ("/api/v1/studies/bulk/update-status", Class.BULK),
        ("/api/v1/studies/bulk/assign-physician", Class.BULK),
    ],
)
def test_what_costs_much_has_a_class_of_its_own(path: str, kind: Class) -> None:
    access = ACCESS["GET", "/api/v1/studies"]
    assert class_of("POST", path, access) is kind
    assert class_of("GET", "/api/v1/exports/{job}/status", access) is Class.POLLING


@given(limit=st.integers(1, 50), previous=COUNTS, current=COUNTS, elapsed=st.floats(0, 0.999))
def test_who_comes_again_when_told_is_let_through(
    limit: int, previous: int, current: int, elapsed: float
) -> None:
    seconds = 3600
    window = Window(limit, seconds, previous, current, elapsed)
    if window.left:
        return
    later = elapsed + window.free_in / seconds
    if later >= 2:
        return
    if later >= 1:
        previous, current, later = current, 0, later - 1
    assert current + floor(previous * (1 - later)) < limit


def test_an_untouched_count_is_whole() -> None:
    window = Window(10, 60, 0, 0, 0.5)
    assert (window.used, window.left, window.ends_in) == (0, 10, 30)


@pytest.mark.parametrize(
    ("previous", "current", "elapsed", "used", "left", "ends_in", "free_in"),
    [
        (10, 0, 0.0, 10, 0, 60, 1),
        (10, 0, 0.5, 5, 5, 30, 1),
        (10, 4, 0.5, 9, 1, 30, 1),
        (10, 4, 0.25, 11, 0, 45, 10),
        (0, 10, 0.5, 10, 0, 30, 31),
        (0, 20, 0.5, 20, 0, 30, 61),
        (10, 12, 0.999, 12, 0, 1, 11),
    ],
)
def test_what_slides(
    previous: int, current: int, elapsed: float, used: int, left: int, ends_in: int, free_in: int
) -> None:
    window = Window(10, 60, previous, current, elapsed)
    assert (window.used, window.left, window.ends_in) == (used, left, ends_in)
    assert window.free_in == free_in
