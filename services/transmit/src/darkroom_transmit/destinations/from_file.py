"""Destinations and rules from a file, for installations that keep their configuration in files."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darkroom_common.errors import ConfigurationError
from darkroom_common.resources.resource import S
from darkroom_common.resources.spec_table import SpecTable
from darkroom_common.specs.base import as_spec, strict
from darkroom_common.specs.destinations import DestinationSpec, Name
from darkroom_common.specs.rules import RuleSpec
from darkroom_transmit.destinations.configuration import Configuration

BY: Final = "file"


@strict
class ConfiguredFile(BaseModel):
    """What the file holds; names that it lacks are left as they are."""

    model_config = ConfigDict(hide_input_in_errors=True)

    destinations: dict[Name, DestinationSpec] = Field(default_factory=dict)
    rules: dict[Name, RuleSpec] = Field(default_factory=dict)


async def apply_file(configuration: Configuration, path: Path) -> None:
    """Make the destinations and rules of a file those in force, where they differ.

    Raises:
        ConfigurationError: the file cannot be read, or makes no sense.
    """
    try:
        text = await asyncio.to_thread(path.read_text, encoding="utf-8")
        wanted = ConfiguredFile.model_validate_json(text)
    except OSError as error:
        raise ConfigurationError(f"DESTINATIONS_FILE: {error.strerror}") from error
    except ValidationError as error:
        wrong = ", ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"DESTINATIONS_FILE: {wrong}") from None
    await _apply(configuration.destination_table, wanted.destinations)
    await _apply(configuration.rule_table, wanted.rules)


async def _apply(table: SpecTable[S], wanted: Mapping[str, S]) -> None:
    known = {one.name: one.spec for one in await table.all()}
    for name, given in wanted.items():
        spec = as_spec(table.resource.spec, given)
        if known.get(name) != spec:
            await table.put(name, spec, by=BY)
