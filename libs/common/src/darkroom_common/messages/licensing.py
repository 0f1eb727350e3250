"""What licensing tells: the licence in force."""

from typing import ClassVar, Literal

from pydantic import AwareDatetime, Field

from darkroom_common.messages.base import Event

LicenceState = Literal["unconfigured", "valid", "grace", "expired", "invalid"]


class LicenceChecked(Event):
    """The licence was looked at; `state` is in force from now on.

    No state ever stops patient data (LIC-03): the other services only show it.
    """

    TYPE: ClassVar[str] = "licence.state.checked.v1"

    state: LicenceState
    reason: str = ""
    valid_until: AwareDatetime | None = None
    entitlements: dict[str, int] = Field(default_factory=dict)
