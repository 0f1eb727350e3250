"""What a licence decides: new administrative work, and never anything about patients (LIC-03).

`NEW_WORK` is all that can be refused: adding what configures the system. What is there can always
be corrected, disabled and removed, since patients' images may depend on it; who may send is never
a question of a licence, nor is anything that reads, receives, sends, prints or changes studies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from darkroom_api.callbacks.spec import CALLBACKS
from darkroom_common.messages.events import LicenceChecked
from darkroom_common.resources.declared import DESTINATIONS, PRINT_RULES, PRINTERS, RULES

Counted = Literal["destinations", "printers", "users"]
Feature = Literal["rules", "api_keys"]
EVERY_FEATURE: Final = "*"


@dataclass(frozen=True)
class NewWork:
    """Something that is added.

    Attributes:
        noun: in the plural.
        counted: the limit that it counts for.
        feature: that it needs.
        table: where it is when a PUT changes what is there, by its name.
    """

    noun: str
    counted: Counted | None = None
    feature: Feature | None = None
    table: str = ""


_DESTINATION: Final = NewWork("destinations", "destinations", table=DESTINATIONS.table)
_PRINTER: Final = NewWork("printers", "printers", table=PRINTERS.table)
_RULE: Final = NewWork("rules", feature="rules", table=RULES.table)
_PRINT_RULE: Final = NewWork("rules", feature="rules", table=PRINT_RULES.table)
_CALLBACK: Final = NewWork("callbacks", table=CALLBACKS.table)
USERS: Final = NewWork("users", "users")
NEW_WORK: Final[Mapping[tuple[str, str], NewWork]] = {
    **{
        (method, path): work
        for resource, work in (
            (DESTINATIONS, _DESTINATION),
            (PRINTERS, _PRINTER),
            (RULES, _RULE),
            (PRINT_RULES, _PRINT_RULE),
            (CALLBACKS, _CALLBACK),
        )
        for method, path in (
            ("POST", resource.path),
            ("PUT", f"{resource.path}/{resource.in_path}"),
        )
    },
    ("POST", "/api/v1/users"): USERS,
    ("POST", "/api/v1/roles"): NewWork("roles"),
    ("POST", "/api/v1/api-keys"): NewWork("API keys", feature="api_keys"),
}
"""By method and path of the route; what is not here is never refused."""


def refusal(licence: LicenceChecked | None, work: NewWork, there: int) -> str:
    """Return why something is not added, for people; nothing when it may be.

    Args:
        licence: what was told last; None: nothing yet, which refuses nothing.
        work: what is to be added.
        there: how many there are of what counts.
    """
    if licence is None:
        return ""
    if licence.read_only:
        return licence.reason
    if work.feature and not {EVERY_FEATURE, work.feature} & set(licence.features):
        return f"The licence does not include {work.noun}."
    limit = None if work.counted is None else licence.entitlements.get(work.counted)
    if limit is not None and there >= limit:
        return f"The licence is for {limit} {work.noun}, and there are {there}."
    return ""
