"""Errors as clients see them: one body, the numbers of 002 appendix A and their continuation."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class Code(IntEnum):
    """What went wrong, for programs. 1xxx, 2xxx and 3xxx begin as 002 appendix A has them."""

    INVALID_CREDENTIALS = 1001
    TOKEN_EXPIRED = 1002  # never told apart from 1003: a token fault is a token fault
    TOKEN_INVALID = 1003
    PERMISSION_DENIED = 1004
    RATE_LIMITED = 1005
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
    INTERNAL_ERROR = 5001
    BAD_GATEWAY = 5002
    SERVICE_AWAY = 5003
    GATEWAY_TIMEOUT = 5004


class ApiError(Exception):
    """Ends a request with an answer. No text of it may hold what the client sent as a value."""

    def __init__(
        self,
        status: int,
        code: Code,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})


def error_body(error: ApiError, request_id: str) -> dict[str, Any]:
    """Return the body of an error answer."""
    return {
        "error": {
            "code": int(error.code),
            "name": error.code.name,
            "message": error.message,
            "request_id": request_id,
            "details": error.details,
        }
    }


def token_invalid() -> ApiError:
    """Return the one answer to every fault of a token: missing, false, expired or revoked."""
    return ApiError(
        401,
        Code.TOKEN_INVALID,
        "A valid access token is needed.",
        headers={"WWW-Authenticate": 'Bearer realm="darkroom"'},
    )


def invalid_credentials() -> ApiError:
    """Return the one answer to a login that failed, whatever the reason."""
    return ApiError(
        401,
        Code.INVALID_CREDENTIALS,
        "The user name or the password is wrong, or the account is locked for a while.",
        headers={"WWW-Authenticate": 'Bearer realm="darkroom"'},
    )


def permission_denied(permission: str) -> ApiError:
    """Return the answer to somebody who may not do this."""
    return ApiError(
        403,
        Code.PERMISSION_DENIED,
        "This needs a permission that you do not have.",
        details={"permission": permission},
    )


def study_not_found() -> ApiError:
    """Return the answer for a study, series or instance that is not there, or deleted."""
    return ApiError(404, Code.STUDY_NOT_FOUND, "There is no such study, series or instance.")


def bad_request(message: str, **details: object) -> ApiError:
    """Return the answer to a request that makes no sense."""
    return ApiError(400, Code.INVALID_REQUEST, message, details=details)


def not_acceptable(offered: list[str]) -> ApiError:
    """Return the answer to an Accept header that nothing offered suits."""
    return ApiError(
        406,
        Code.NOT_ACCEPTABLE,
        "None of the accepted media types can be answered.",
        details={"offered": offered},
    )


def internal_error() -> ApiError:
    """Return the answer to a defect of ours; the log has the rest under the request id."""
    return ApiError(500, Code.INTERNAL_ERROR, "Something went wrong in Darkroom.")
