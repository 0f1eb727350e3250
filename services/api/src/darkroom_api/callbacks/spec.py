"""Where events are sent by HTTP (API-13). The api owns them: nobody else is asked to change one."""

import datetime as dt
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from darkroom_common.resources.resource import Resource
from darkroom_common.specs.base import ResourceSpec
from darkroom_common.specs.destinations import Backoff

EventType = Literal[
    "instances.stored",
    "instances.replaced",
    "instance.quarantined",
    "instance.damaged",
    "instance.repaired",
    "study.completed",
    "study.status_changed",
    "study.removed",
    "conflict.opened",
    "conflict.resolved",
    "transmit.job_changed",
    "print.job_changed",
    "retrieve.job_changed",
    "node.state_changed",
    "licence.checked",
    "callback.disabled",
    "callback.enabled",
]
"""What is told to people and programs outside; docs/callbacks.md says what each holds."""
EVERY_EVENT: Final = "*"
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
_USUAL: Final = Backoff(initial_seconds=5, multiplier=4, ceiling_seconds=6 * 3600, max_attempts=12)
"""A day and a quarter from the first attempt to the last."""


class CallbackSpec(ResourceSpec):
    """Who is told of which events."""

    url: str = Field(max_length=2048, description="https; http where CALLBACK_HTTP allows it")
    events: tuple[EventType | Literal["*"], ...] = Field(
        min_length=1, max_length=100, description="types of events; `*` is every one there will be"
    )
    timeout_seconds: float = Field(
        default=10.0, ge=1, le=30, description="for connecting, sending and the answer together"
    )
    backoff: Backoff = Field(default=_USUAL, description="when a delivery is tried again")
    disable_after: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="deliveries that have failed for good, none delivered in between, after which"
        " nothing is sent until somebody enables it",
    )

    @field_validator("url")
    @classmethod
    def _can_be_called(cls, url: str) -> str:
        fault = url_fault(url)
        if fault:
            raise ValueError(fault)
        return url


def url_fault(url: str) -> str:
    """Return why a URL cannot be called; nothing when it can."""
    if not url.isascii() or any(c <= " " or c == "\x7f" or c in '"<>\\^`{|}' for c in url):
        return "it holds characters that a URL has to escape"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it is no URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it is no https URL"
    if port == 0:
        return "its port is 0"
    if "@" in parts.netloc:
        return "a user or password has no place in it"
    return "it has a fragment" if parts.fragment else ""


class CallbackState(BaseModel):
    """What is kept of a callback beside its spec."""

    failures: int = Field(description="deliveries that have failed since the last that was made")
    delivered_at: dt.datetime | None = Field(description="the last, to a minute")
    failed_at: dt.datetime | None = Field(description="when an attempt has failed last")
    disabled_at: dt.datetime | None = Field(description="since when nothing is sent")
    disabled_reason: str
    former_until: dt.datetime | None = Field(description="until when the former secret signs, too")


CALLBACKS: Final = Resource(
    schema="api",
    kind="callback",
    spec=CallbackSpec,
    title="callback",
    path="/api/v1/callbacks",
    reads="callbacks:read",
    writes="callbacks:write",
    tag="callbacks",
    state=CallbackState,
    secret=True,
    identified=True,
)
