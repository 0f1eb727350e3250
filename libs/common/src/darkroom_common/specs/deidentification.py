"""The names of profiles of de-identification (PS3.15 annex E), as destinations give them."""

from collections.abc import Mapping
from typing import Final

BASIC: Final = "basic"
OPTIONS: Final[Mapping[str, tuple[str, str] | tuple[()]]] = {
    "clean-descriptors": ("113105", "Clean Descriptors Option"),
    "retain-full-dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "retain-modified-dates": (
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
    "retain-patient-characteristics": ("113108", "Retain Patient Characteristics Option"),
    "retain-device-identity": ("113109", "Retain Device Identity Option"),
    "retain-uids": ("113110", "Retain UIDs Option"),
    "retain-safe-private": ("113111", "Retain Safe Private Option"),
    "retain-institution-identity": ("113112", "Retain Institution Identity Option"),
    "allow-burned-in": (),
}
"""What may be joined to `basic` with plus signs, with its code of CID 7050; the last is ours."""


def parse_profile(text: str) -> frozenset[str]:
    """Return the options of a profile such as `basic+retain-uids`.

    Raises:
        ValueError: it is not such; the text says what is.
    """
    base, *options = text.split("+")
    unknown = set(options) - set(OPTIONS)
    if base != BASIC or unknown:
        raise ValueError(
            f"deidentify is basic, with options after plus signs: {', '.join(OPTIONS)}"
        )
    if {"retain-full-dates", "retain-modified-dates"} <= set(options):
        raise ValueError("deidentify keeps dates in full or modified, not both")
    return frozenset(options)
