"""Asks another service and turns its reply into an answer."""

from typing import Final

from starlette.types import Scope

from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.errors import RETRY_AFTER, ApiError, Code, internal_error, not_licensed
from darkroom_api.http.parts import parts_of
from darkroom_common.amqp.broker import BrokerUnavailable, NoReply, Unroutable
from darkroom_common.messages.base import Reply, Request
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
LIMIT: Final = 5.0
_STATUS: Final = {
    "not-found": (404, Code.NOT_FOUND, "There is nothing of this name."),
    "conflict": (409, Code.CONFLICT, "It is there already, is in use, or has come too far."),
    "stale": (412, Code.CHANGED_MEANWHILE, "It has been changed meanwhile."),
    "peer-failed": (502, Code.BAD_GATEWAY, "The other DICOM node cannot be worked with."),
    "peer-timeout": (504, Code.GATEWAY_TIMEOUT, "The other DICOM node does not answer in time."),
    "invalid": (422, Code.INVALID_REQUEST, "Some values are missing or wrong."),
}
_MORE: Final = (("fault", "fault"), ("status", "dicom_status"))


def service_away() -> ApiError:
    """Return the answer when whoever does the work cannot be reached."""
    return ApiError(
        503,
        Code.SERVICE_AWAY,
        "The service that does this is away for the moment.",
        headers={"Retry-After": RETRY_AFTER},
    )


async def ask(scope: Scope, message: Request, *, limit: float = LIMIT) -> Reply:
    """Return the reply to a request that was done.

    Raises:
        ApiError: what the other service said, or 503 when it did not answer in time.
    """
    wait_for_another(scope, limit)
    try:
        reply = await parts_of(scope).broker.request(message, limit=limit)
    except (NoReply, Unroutable, BrokerUnavailable) as error:
        log.warning("request.unanswered", type=message.TYPE, reason=type(error).__name__)
        raise service_away() from error
    return done(reply)


def done(reply: Reply) -> Reply:
    """Return the reply to a request that was done.

    Raises:
        ApiError: it was not.
    """
    if reply.outcome in ("done", "created"):
        return reply
    if reply.outcome == "unavailable":
        raise service_away()
    if reply.outcome == "no-room":
        raise not_licensed(reply.reason)
    if reply.outcome == "failed":
        raise internal_error()
    status, code, text = _STATUS[reply.outcome]
    detail = f"{text[:-1]}: {reply.reason}." if reply.reason else text
    fault = ApiError(status, code, detail)
    fault.more = {ours: str(reply.body[name]) for name, ours in _MORE if reply.body.get(name)}
    raise fault
