"""A fence: another site works in the place of this one, and nothing is changed here (STO-09).

`darkroom failover` raises it at the place that a site sends to; `darkroom ship`, which sees it,
writes the file that is read here. `darkroom take-back` removes that.
"""

import datetime as dt
from typing import Final

from pydantic import BaseModel, Field, ValidationError
from starlette.types import Scope

from darkroom_api.accounts.guard import SAFE
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.parts import parts_of
from darkroom_api.settings import ApiSettings
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_OWN: Final = ("/api/v1/auth/",)
"""Whoever looks at what is here has to sign in and out."""
_BEGINS: Final = ("/api/", "/dicom-web/")
"""The console asks REST."""


class Fence(BaseModel):
    """Another site works in the place of this one."""

    since: dt.datetime | None = Field(description="null: the file that says so cannot be read")


def fence_of(settings: ApiSettings) -> Fence | None:
    """Return what is known of a fence; None: this site is the one to work with.

    A file that says nothing is a fence as well: what is changed at two sites is hard to join.
    """
    if settings.fence is None:
        return None
    try:
        return Fence.model_validate_json(settings.fence.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("fence.unread", reason=type(error).__name__)
        return Fence(since=None)


def require_unfenced(scope: Scope, method: str, path: str) -> None:
    """Let nothing be changed by REST and DICOMweb while another site works in its place.

    Args:
        scope: of the request.
        method: of the request.
        path: of its route.

    Raises:
        ApiError: 503, with what can be done.
    """
    if method in SAFE or path.startswith(_OWN) or not path.startswith(_BEGINS):
        return
    fence = fence_of(parts_of(scope).settings)
    if fence is not None:
        since = "" if fence.since is None else f" since {fence.since:%Y-%m-%d %H:%M} UTC"
        raise ApiError(
            503,
            Code.FENCED,
            f"Another site works in the place of this one{since}: do it there. `darkroom take-back`"
            " says that this one is to be worked with again.",
        )
