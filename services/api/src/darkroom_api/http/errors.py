"""Errors as clients see them: problem details (RFC 9457) with the codes of 002 appendix A."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PROBLEM: Final = "application/problem+json"
SHOWN: Final = "shown"
"""In the state of a request for a page: what makes a page of an error."""
LOCK_SECONDS: Final = 60
"""How long a name is locked after too many failures from somewhere, and what its owner reads."""
RETRY_AFTER: Final = "5"
_BEARER: Final = 'Bearer realm="darkroom"'


class Code(IntEnum):
    """What went wrong, for programs. 1xxx, 2xxx and 3xxx begin as 002 appendix A has them."""

    INVALID_CREDENTIALS = 1001
    TOKEN_EXPIRED = 1002  # our own, untampered token past its time, and nothing else
    TOKEN_INVALID = 1003  # anything else about a token
    PERMISSION_DENIED = 1004
    RATE_LIMITED = 1005
    SECOND_FACTOR_REQUIRED = 1006
    STUDY_NOT_FOUND = 2001
    EXPORT_FAILED = 2002
    BULK_OPERATION_FAILED = 2003
    DATABASE_ERROR = 3001
    CACHE_ERROR = 3002
    STORE_ERROR = 3003
    INVALID_REQUEST = 4001
    NOT_FOUND = 4002
    METHOD_NOT_ALLOWED = 4003
    NOT_ACCEPTABLE = 4004
    RANGE_NOT_SATISFIABLE = 4005
    TOO_LARGE = 4006
    UNSUPPORTED_MEDIA_TYPE = 4007
    CONFLICT = 4008
    CHANGED_MEANWHILE = 4009
    NOT_LICENSED = 4010
    FENCED = 4011
    INTERNAL_ERROR = 5001
    BAD_GATEWAY = 5002
    SERVICE_AWAY = 5003
    GATEWAY_TIMEOUT = 5004


class FieldError(BaseModel):
    """What is wrong with one value."""

    field: str
    message: str


class Problem(BaseModel):
    """The body of every answer that is an error."""

    type: str = Field(default="about:blank", description="`code` and `name` say which problem")
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="a sentence for people")
    code: int = Field(description=", ".join(f"{code.value} {code.name}" for code in Code))
    name: str
    request_id: str
    errors: list[FieldError]
    fault: str | None = Field(
        default=None, description="of another DICOM node, by a word of docs/transmit.md"
    )
    dicom_status: str | None = Field(
        default=None, description="the other node's answer, four hexadecimal digits"
    )
    candidates: list[str] | None = Field(
        default=None, description="StudyInstanceUIDs, of which the client is to name one"
    )


class ApiError(Exception):
    """Ends a request with an answer. No text of it may hold what the client sent as a value.

    Args:
        status: of HTTP.
        code: for programs.
        detail: a sentence for people.
        errors: field and message of each value that is wrong.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        code: Code,
        detail: str,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.more: dict[str, Any] = {}  # members of the body beside those of every problem
        self.headers = dict(headers or {})


def problem(error: ApiError, request_id: str) -> dict[str, Any]:
    """Return the body of an error answer."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "code": int(error.code),
        "name": error.code.name,
        "request_id": request_id,
        "errors": [{"field": field, "message": message} for field, message in error.errors],
        **error.more,
    }


def token_invalid() -> ApiError:
    """Return the one answer to a token that is missing, false, revoked or of somebody inactive."""
    return ApiError(
        401,
        Code.TOKEN_INVALID,
        "A valid access token is needed.",
        headers={"WWW-Authenticate": _BEARER},
    )


def token_expired() -> ApiError:
    """Return the answer to a token of ours that nothing is wrong with but its age."""
    return ApiError(
        401,
        Code.TOKEN_EXPIRED,
        "The access token has expired.",
        headers={"WWW-Authenticate": f'{_BEARER}, error="invalid_token"'},
    )


def invalid_credentials() -> ApiError:
    """Return the one answer to a login that failed, whatever the reason."""
    return ApiError(
        401, Code.INVALID_CREDENTIALS, "Invalid credentials", headers={"WWW-Authenticate": _BEARER}
    )


def code_needed() -> ApiError:
    """Return the answer to a right password of somebody who signs in with a code as well."""
    return ApiError(
        401,
        Code.SECOND_FACTOR_REQUIRED,
        "A code of your authenticator, or a recovery code, is needed.",
        headers={"WWW-Authenticate": _BEARER},
    )


def name_locked() -> ApiError:
    """Return the answer while a name is locked there, whether or not somebody has it."""
    return ApiError(
        429,
        Code.RATE_LIMITED,
        f"Too many login attempts. Try again in {LOCK_SECONDS} seconds.",
        headers={"Retry-After": str(LOCK_SECONDS)},
    )


def line_full() -> ApiError:
    """Return the answer while too many sign in; nothing was tried, and nothing is counted."""
    return ApiError(
        429,
        Code.RATE_LIMITED,
        "Too many sign in at the moment. Try again in 2 seconds.",
        headers={"Retry-After": "2"},
    )


def rate_limited(seconds: int) -> ApiError:
    """Return the answer to who has asked too often, with when to come again."""
    return ApiError(
        429,
        Code.RATE_LIMITED,
        f"Too many requests. Try again in {seconds} seconds.",
        headers={"Retry-After": str(seconds)},
    )


def misdirected() -> ApiError:
    """Return the answer to a request for a host that is not served here."""
    return ApiError(421, Code.INVALID_REQUEST, "This host is not served here.")


def permission_denied(permission: str) -> ApiError:
    """Return the answer to somebody who may not do this."""
    return ApiError(403, Code.PERMISSION_DENIED, f"Missing permission: {permission}")


def not_licensed(reason: str) -> ApiError:
    """Return the answer to new administrative work that the licence does not cover."""
    return ApiError(402, Code.NOT_LICENSED, reason)


def study_not_found() -> ApiError:
    """Return the answer for a study, series or instance that is not there, or deleted."""
    return ApiError(404, Code.STUDY_NOT_FOUND, "There is no such study, series or instance.")


def bad_request(detail: str, *errors: tuple[str, str]) -> ApiError:
    """Return the answer to a request that makes no sense, with what is wrong by field."""
    return ApiError(400, Code.INVALID_REQUEST, detail, errors=errors)


def unfit(*errors: tuple[str, str]) -> ApiError:
    """Return the answer to values that cannot be, with what is wrong by field."""
    return ApiError(422, Code.INVALID_REQUEST, "Some values are missing or wrong.", errors=errors)


def invalid(field: str, message: str) -> ApiError:
    """Return the answer to one value that cannot be."""
    return unfit((field, message))


def not_acceptable(offered: list[str]) -> ApiError:
    """Return the answer to an Accept header that nothing offered suits."""
    return ApiError(
        406,
        Code.NOT_ACCEPTABLE,
        f"None of the accepted media types can be answered; offered: {', '.join(offered)}.",
    )


def too_late() -> ApiError:
    """Return the answer when what a request needs does not answer in time."""
    return ApiError(
        503,
        Code.SERVICE_AWAY,
        "Something that this needs does not answer in time. What was asked may yet be done.",
        headers={"Retry-After": RETRY_AFTER},
    )


def not_whole() -> ApiError:
    """Return the answer to a request whose body does not come."""
    return ApiError(408, Code.INVALID_REQUEST, "The body has not come in time.")


def cannot_be_made(reason: str) -> ApiError:
    """Return the answer when an object cannot be shown or said in the form that is asked for."""
    return ApiError(406, Code.NOT_ACCEPTABLE, f"It cannot be answered in this form: {reason}.")


def decoder_failed() -> ApiError:
    """Return the answer when the decoder of an object has crashed, or took too long."""
    return ApiError(
        500, Code.INTERNAL_ERROR, "The decoder of this object has crashed, or took too long."
    )


def internal_error() -> ApiError:
    """Return the answer to a defect of ours; the log has the rest under the request id."""
    return ApiError(500, Code.INTERNAL_ERROR, "Something went wrong in Darkroom.")


async def handled(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Have an application answer, or answer an error that has a handler here.

    Of an answer that has begun the error passes through: it stays unfinished.
    """
    begun = False

    async def sending(message: Message) -> None:
        nonlocal begun
        await send(message)
        begun = True

    try:
        await app(scope, receive, sending)
    except Exception as error:
        handler = None if begun else _handler_of(scope["app"], error)
        if handler is None:
            raise
        response = await handler(Request(scope, receive), error)
        await response(scope, receive, send)


def _handler_of(
    app: FastAPI, error: Exception
) -> Callable[[Request, Exception], Awaitable[Response]] | None:
    of_app: Mapping[Any, Any] = app.exception_handlers
    return next((of_app[kind] for kind in type(error).__mro__ if kind in of_app), None)
