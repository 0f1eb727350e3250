"""Feature flags: what is told of them, and what happens while one is off."""

from typing import Any

import pytest

from darkroom_api.settings import ApiSettings
from darkroom_common.errors import ConfigurationError
from tests.integration.api.conftest import Api, running_api
from tests.support.services import Services

FLAGS = "/api/v1/feature-flags"
ON = {
    "AUTHENTICATION_ENABLED": True,
    "RBAC_ENABLED": True,
    "AUDIT_LOGGING_ENABLED": True,
    "EXPORT_ENABLED": True,
    "MONITORING_ENABLED": True,
}


@pytest.mark.req("API-14")
async def test_the_flags_are_told_to_who_has_signed_in(api: Api) -> None:
    assert (await api.anonymous.get(FLAGS)).status_code == 401
    answer = await api.client.get(FLAGS)
    assert (answer.status_code, answer.json()) == (200, ON)


@pytest.mark.req("API-14")
async def test_exports_and_metrics_that_are_off_are_not_there(services: Services) -> None:
    services.extra |= {"FF_EXPORT_ENABLED": "false", "FF_MONITORING_ENABLED": "false"}
    async with running_api(services) as api:
        found = (await api.client.get(FLAGS)).json()
        assert found == {**ON, "EXPORT_ENABLED": False, "MONITORING_ENABLED": False}
        for method, path in (
            ("GET", "/api/v1/exports"),
            ("GET", "/api/v1/exports/1/status"),
            ("POST", "/api/v1/studies/export"),
            ("GET", "/metrics/api"),
        ):
            answer = await api.client.request(method, path)
            assert answer.status_code in {404, 405}, path
            assert answer.headers["content-type"] == "application/problem+json"
        process = services.running["api"]
        assert process.probe("/metrics")[0] == 404
        assert process.probe("/readyz")[0] == 200


@pytest.mark.req("API-14")
async def test_in_development_nobody_has_to_sign_in(services: Services) -> None:
    services.extra |= {
        "DEVELOPMENT": "true",
        "FF_AUTH_ENABLED": "false",
        "FF_RBAC_ENABLED": "false",
        "FF_AUDIT_ENABLED": "false",
    }
    async with running_api(services) as api:
        for _ in range(2):
            answer = await api.anonymous.get("/api/v1/auth/me")
            assert (answer.status_code, answer.json()["username"]) == (200, "admin")
        false = {"authorization": "Bearer false"}
        assert (await api.anonymous.get(FLAGS, headers=false)).status_code == 401
        ended = await api.anonymous.post("/api/v1/auth/logout")
        assert ended.status_code == 200
        assert (await api.anonymous.get(FLAGS)).json()["AUTHENTICATION_ENABLED"] is False
        assert "development.open" in services.running["api"].log.read_text()


@pytest.mark.parametrize("flag", ["FF_AUTH_ENABLED", "FF_RBAC_ENABLED", "FF_AUDIT_ENABLED"])
def test_what_protects_is_off_in_development_alone(
    monkeypatch: pytest.MonkeyPatch, flag: str, services: Services
) -> None:
    given: dict[str, Any] = services.environment("api", 0)
    for name, value in {**given, f"DARKROOM_{flag}": "false"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="DEVELOPMENT"):
        ApiSettings.load()
    monkeypatch.setenv("DARKROOM_DEVELOPMENT", "true")
    assert ApiSettings.load().development
