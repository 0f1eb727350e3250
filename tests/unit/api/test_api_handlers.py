"""What clients are told of exceptions of routes."""

import datetime as dt
import uuid
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import AwareDatetime, TypeAdapter, ValidationError
from starlette.types import Receive, Scope, Send

from darkroom_api.http import handlers
from darkroom_api.http.errors import Code, permission_denied, problem
from darkroom_api.http.typed import Moment
from darkroom_api.studies.editing import StudyPatch
from darkroom_common.index.reader import SearchTooLong

APPENDIX_A = {
    1001: "INVALID_CREDENTIALS",
    1002: "TOKEN_EXPIRED",
    1003: "TOKEN_INVALID",
    1004: "PERMISSION_DENIED",
    1005: "RATE_LIMITED",
    2001: "STUDY_NOT_FOUND",
    2002: "EXPORT_FAILED",
    2003: "BULK_OPERATION_FAILED",
    3001: "DATABASE_ERROR",
    3002: "CACHE_ERROR",
}


@pytest.mark.req("API-10")
def test_codes_are_those_that_clients_know_and_a_missing_permission_is_named() -> None:
    assert {code: Code(code).name for code in APPENDIX_A} == APPENDIX_A
    said = problem(permission_denied("studies:write"), "7")
    assert (said["status"], said["code"], said["request_id"]) == (403, 1004, "7")
    assert said["detail"] == "Missing permission: studies:write"


@pytest.mark.parametrize(
    ("wide", "status", "code", "fields"),
    [
        (["PatientName", "PatientBirthDate"], 400, 4001, ["PatientName", "PatientBirthDate"]),
        ([], 503, 3001, []),
    ],
)
async def test_a_search_that_is_too_wide_is_a_fault_of_who_asks(
    wide: list[str], status: int, code: int, fields: list[str]
) -> None:
    app = FastAPI()
    handlers.install(app)

    @app.get("/")
    async def search() -> None:
        raise SearchTooLong("more than 5 s", wide)

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"request_id": "1"}
        await app(scope, receive, send)

    transport = httpx.ASGITransport(with_state)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        answer = await client.get("/")
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code)
    assert [one["field"] for one in body["errors"]] == fields
    assert ("retry-after" in answer.headers) == (not wide)


async def test_a_field_is_named_without_what_its_value_was_taken_for() -> None:
    app = FastAPI()
    handlers.install(app)

    @app.patch("/")
    async def change(given: StudyPatch) -> None:
        pass

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"request_id": "1"}
        await app(scope, receive, send)

    transport = httpx.ASGITransport(with_state)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        answer = await client.patch("/", json={"study_time": "25", "patient_birth_date": "x"})
    assert answer.status_code == 422
    named = {one["field"] for one in answer.json()["errors"]}
    assert named == {"body.study_time", "body.patient_birth_date"}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (dt.datetime, "It is no time YYYY-MM-DDThh:mm:ss with its offset."),
        (AwareDatetime, "It is no time YYYY-MM-DDThh:mm:ss with its offset."),
        (Moment, "it is no time YYYY-MM-DDThh:mm:ss with its offset"),
        (dt.date, "It is no date YYYY-MM-DD."),
        (uuid.UUID, "It is no id of ours."),
    ],
)
def test_what_is_wanted_is_said_and_nothing_of_what_was_given(kind: Any, words: str) -> None:
    for given in ("Doe^Jane", "2026-13-99T00:00:00", "2026-02-03 04"):
        with pytest.raises(ValidationError) as fault:
            TypeAdapter(kind).validate_python(given)
        said = {handlers.message_of(one) for one in fault.value.errors()}
        assert {one.lower().rstrip(".") for one in said} == {words.lower().rstrip(".")}
