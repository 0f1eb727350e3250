"""Printer profiles: data files that say what a kind of printer takes, with its quirks."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from darkroom_common.errors import ConfigurationError, PermanentError
from darkroom_common.specs.printers import PrinterSpec, Quirk

_FIELDS: Final = frozenset(
    {
        "film_sizes",
        "media",
        "film_destinations",
        "dpi",
        "bits",
        "colour",
        "display_formats",
        "annotation_format",
        "annotation_boxes",
        "presentation_lut",
        "quirks",
    }
)


class UnknownProfile(PermanentError):
    """There is no profile of this name."""


class Profile(BaseModel):
    """What a kind of printer takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    film_sizes: tuple[str, ...]
    media: tuple[str, ...] = ()
    film_destinations: tuple[str, ...] = ()
    dpi: float
    bits: int
    colour: bool
    display_formats: tuple[str, ...]
    annotation_format: str
    annotation_boxes: int
    presentation_lut: bool
    quirks: tuple[Quirk, ...]


@cache
def profiles() -> dict[str, Profile]:
    """Return all profiles by name.

    Raises:
        ConfigurationError: a data file makes no sense.
    """
    found = {
        entry.name.removesuffix(".toml"): tomllib.loads(entry.read_text(encoding="utf-8"))
        for entry in (files("darkroom_common.films") / "printer_profiles").iterdir()
        if entry.name.endswith(".toml")
    }
    try:
        return {name: Profile.model_validate(_whole(name, found)) for name in sorted(found)}
    except (ValidationError, KeyError) as error:
        raise ConfigurationError(f"a printer profile makes no sense: {error}") from error


def _whole(name: str, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    own = dict(found[name])
    parent = own.pop("inherits", None)
    return own if parent is None else {**_whole(parent, found), **own}


def capabilities(spec: PrinterSpec) -> Profile:
    """Return what a printer takes: its profile, with what its own description says otherwise.

    Raises:
        UnknownProfile: it names one that there is not.
    """
    base = profiles().get(spec.profile)
    if base is None:
        raise UnknownProfile(f"the profile must be one of {', '.join(profiles())}")
    own = spec.model_dump(include=set(_FIELDS), exclude_none=True)
    return base.model_copy(update=own)
