"""The messages keep what they promised."""

import copy
from pathlib import Path

import pytest

from darkroom_common.messages.base import InvalidMessage, Message
from darkroom_common.messages.breaks import breaks
from darkroom_common.messages.contract import broken, current_schemas, render_page, stored_schemas
from darkroom_common.messages.registry import MESSAGE_TYPES, decode
from darkroom_common.topology import REQUEST_QUEUES, WORK_QUEUES, render_policies
from tests.support.builders import instances_stored

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(current_schemas()))
def test_stored_schema_is_kept(name: str) -> None:
    stored, current = stored_schemas().get(name), current_schemas()[name]
    assert stored is not None, "run `make messages`"
    assert breaks(stored, current) == []
    assert stored == current, "run `make messages`"


def test_no_type_is_given_up_by_accident() -> None:
    assert broken(stored_schemas(), current_schemas()) == []
    current = current_schemas()
    del current["transmit.send.v1"], current["print.film.v1.sealed"]
    assert broken(stored_schemas(), current) == [
        "print.film.v1.sealed is gone: delete its schema if that is on purpose",
        "transmit.send.v1 is gone: delete its schema if that is on purpose",
    ]


def test_what_is_sealed_is_promised_as_well() -> None:
    stored = stored_schemas()
    order = copy.deepcopy(current_schemas()["print.film.v1.sealed"])
    del order["$defs"]["FilmWindow"]["properties"]["center"]
    assert broken(stored, {**stored, "print.film.v1.sealed": order}) == [
        "print.film.v1.sealed: field images[].window.center is gone",
        "print.film.v1.sealed: field window.center is gone",
    ]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "messages.md").read_text() == render_page(), "run `make messages`"


@pytest.mark.parametrize("name", sorted(MESSAGE_TYPES))
def test_names_are_versioned_and_say_domain_noun_verb(name: str) -> None:
    assert name == MESSAGE_TYPES[name].TYPE
    assert name.rsplit(".", 1)[1].startswith("v")
    assert MESSAGE_TYPES[name].__doc__


def test_a_reader_ignores_what_it_does_not_know() -> None:
    event = instances_stored()
    body = event.to_body().replace(b"{", b'{"from_a_later_release": 1, ', 1)
    assert decode(event.TYPE, body) == event


def test_an_error_names_fields_and_never_values() -> None:
    event = instances_stored()
    body = event.to_body().replace(b'"SCANNER"', b'"A TITLE THAT IS FAR TOO LONG"')
    with pytest.raises(InvalidMessage) as caught:
        decode(event.TYPE, body)
    assert "calling_ae_title" in str(caught.value)
    assert "FAR TOO LONG" not in str(caught.value)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(InvalidMessage):
        decode("nobody.knows.v1", b"{}")
    with pytest.raises(InvalidMessage):
        decode(None, b"{}")


def test_commands_have_exactly_one_queue() -> None:
    for cls in MESSAGE_TYPES.values():
        takers = [queue for queue in (*WORK_QUEUES, *REQUEST_QUEUES) if cls in queue.binds]
        if cls.EXCHANGE.value == "darkroom.commands" and cls.TYPE != "study.delete.v1":
            assert len(takers) == 1, cls.TYPE
        assert all(issubclass(bound, Message) for queue in takers for bound in queue.binds)


def test_every_queue_and_tier_has_a_policy() -> None:
    names = {policy["pattern"] for policy in render_policies("/")}
    for queue in WORK_QUEUES:
        assert f"^{queue.name.replace('.', '[.]')}$".replace("[.]", "\\.") in names
        assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"
