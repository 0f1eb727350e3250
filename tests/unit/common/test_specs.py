"""Specs: tolerant where they are stored and sent, strict where they are given."""

import datetime as dt
import json
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel, ValidationError

from darkroom_api.studies.editing import StudyPatch
from darkroom_common.errors import ConfigurationError
from darkroom_common.messages.contract import current_schemas
from darkroom_common.messages.resources import DELETE, PUT, put
from darkroom_common.resources.declared import RESOURCES
from darkroom_common.resources.reader import shown
from darkroom_common.resources.resource import Resource
from darkroom_common.resources.stored import read_spec
from darkroom_common.specs.base import ResourceSpec, as_spec, strict
from darkroom_common.specs.destinations import Window
from darkroom_common.specs.remote import ProcedureStepChange
from darkroom_common.specs.rules import Conditions
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.from_file import apply_file

GIVEN: dict[str, dict[str, Any]] = {
    "transmit.destination": {"ae_title": "PACS", "host": "pacs", "port": 104, "tls": {}},
    "transmit.rule": {"destinations": ["PACS"], "conditions": {"modalities": ["CT"]}},
    "print.printer": {"ae_title": "FILM", "host": "film", "port": 104, "backoff": {}},
    "print.rule": {"printer": "FILM", "film": {"presentation_lut": {}}},
    "ingest.sender": {"host_rule": "listed", "hosts": [{"network": "10.0.0.0/8"}]},
    "index.tag": {"path": "ProtocolName", "level": "series"},
}
WORDS: dict[str, dict[str, Any]] = {
    "transmit.destination": {"kind": "carrier-pigeon"},
    "transmit.rule": {"when": "at-noon"},
    "print.printer": {"quirks": ["prints-backwards"]},
    "print.rule": {"film": {"orientation": "DIAGONAL"}},
    "ingest.sender": {"host_rule": "by-name"},
    "index.tag": {"level": "frame"},
}
FLAT = {"index.tag"}
EACH = pytest.mark.parametrize("resource", RESOURCES, ids=lambda one: one.table)


def later(value: Any) -> Any:
    """Return JSON with a later field in every object, however deep."""
    if isinstance(value, dict):
        return {**{name: later(one) for name, one in value.items()}, "of_a_later_release": 1}
    return [later(one) for one in value] if isinstance(value, list) else value


@EACH
def test_a_later_field_is_ignored_at_every_depth(resource: Resource[Any]) -> None:
    spec = resource.spec.model_validate(GIVEN[resource.table])
    text = json.dumps(later(spec.model_dump(mode="json")))
    assert text.count("of_a_later_release") > (resource.table not in FLAT)
    assert read_spec(resource.spec, text) == (spec, ())
    message = put(resource, "one", spec)
    body = json.dumps(later(json.loads(message.to_body()))).encode()
    assert PUT[resource].from_body(body) == message


@EACH
def test_a_later_word_disables_this_one_and_says_where(resource: Resource[Any]) -> None:
    given = GIVEN[resource.table] | WORDS[resource.table]
    spec, unreadable = read_spec(resource.spec, json.dumps(given))
    (field,) = WORDS[resource.table]
    assert not spec.enabled
    assert [one.partition(".")[0] for one in unreadable] == [field]
    row: dict[str, Any] = dict.fromkeys(("created_at", "updated_at", "breaker_until", "status_at"))
    row |= dict.fromkeys(("breaker", "breaker_reason", "status", "status_info"), "")
    row |= dict.fromkeys(("echo_state", "echo_reason"), "") | {"echo_failures": 0}
    row |= dict.fromkeys(("echo_since", "echo_at", "echo_seconds"))
    row |= {"name": "one", "version": 3, "spec": json.dumps(given)}
    told = shown(row, resource, resource.state)
    assert told[field] == given[field]  # as it is stored
    assert told["unreadable"] == list(unreadable)


@EACH
def test_what_is_given_is_strict_at_every_depth(resource: Resource[Any]) -> None:
    spec: type[ResourceSpec] = resource.spec
    model = strict(spec)
    assert model.__name__ == resource.spec.__name__
    given = model.model_validate(GIVEN[resource.table])
    assert as_spec(resource.spec, given) == resource.spec.model_validate(GIVEN[resource.table])

    def wrong(value: Any) -> list[Any]:
        """Return the value with one later field, at each place in turn."""
        if isinstance(value, list):
            return [[one] for item in value for one in wrong(item)]
        if not isinstance(value, dict):
            return []
        deeper = [{**value, name: one} for name, item in value.items() for one in wrong(item)]
        return [{**value, "typo": 1}, *deeper]

    places = wrong(GIVEN[resource.table])
    assert len(places) > 1 or resource.table in {"transmit.rule", *FLAT}
    for given_wrong in places:
        with pytest.raises(ValidationError, match="typo"):
            model.model_validate(given_wrong)


def test_a_strict_model_holds_only_strict_ones() -> None:
    def loose(model: type[BaseModel]) -> set[str]:
        schema = model.model_json_schema()
        parts = {**schema.pop("$defs", {}), model.__name__: schema}
        return {
            name
            for name, part in parts.items()
            if "properties" in part and part.get("additionalProperties") is not False
        }

    for resource in RESOURCES:
        assert loose(strict(resource.spec)) == set()
        assert loose(resource.spec) != set()


def test_the_types_on_the_wire_follow_from_the_declaration() -> None:
    assert {one.TYPE for one in (*PUT.values(), *DELETE.values())} == {
        f"{table}.{verb}.v1" for table in GIVEN for verb in ("put", "delete")
    }
    fields = current_schemas()["transmit.destination.put.v1"]["properties"]
    assert {"name", "destination", "only_new", "requested_by", "sealed"} < fields.keys()


@pytest.mark.parametrize(
    "wrong",
    [
        {"destinations": {"PACS": {**GIVEN["transmit.destination"], "tls": {"enable": True}}}},
        {"rules": {"all": {**GIVEN["transmit.rule"], "conditions": {"modality": "CT"}}}},
        {"destination": {}},
    ],
)
async def test_a_typing_error_in_a_file_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "destinations.json"
    path.write_text(json.dumps(wrong))
    with pytest.raises(ConfigurationError, match=r"enable|modality|destination"):
        await apply_file(cast("Configuration", None), path)


@pytest.mark.parametrize("given", [39_600, 1.5, True, "39600", "10:00+02:00", "10:00:00Z", "x"])
def test_a_time_of_the_day_is_no_count_of_seconds_and_has_no_offset(given: object) -> None:
    with pytest.raises(ValidationError):
        Window.model_validate({"start": given, "end": "11:00"})
    with pytest.raises(ValidationError):
        Conditions.model_validate({"after": given})
    with pytest.raises(ValidationError):
        StudyPatch.model_validate({"study_time": given})
    for good in ("10:00", "10:00:00.5", dt.time(10)):
        window = Window.model_validate({"start": good, "end": good})
        assert window == Window.model_validate_json(window.model_dump_json())


@pytest.mark.parametrize("given", [20_000, "20261127", "2026-11-27", 1.5])
def test_a_moment_is_no_count_of_seconds(given: object) -> None:
    with pytest.raises(ValidationError, match="ended_at"):
        ProcedureStepChange.model_validate({"status": "COMPLETED", "ended_at": given})
