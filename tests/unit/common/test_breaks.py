"""What breaks a reader or a writer is found, however deep it lies."""

from collections.abc import Callable
from types import GenericAlias
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, StringConstraints, create_model

from darkroom_common.messages.breaks import GROWS, breaks

NEEDED: Any = ...
Part = type[BaseModel]


def part(titled: str = "Part", /, **fields: tuple[Any, Any]) -> Part:
    given: dict[str, Any] = fields
    return create_model(titled, **given)


def cat(**more: tuple[Any, Any]) -> Part:
    return part("Cat", kind=(Literal["cat"], "cat"), lives=(int, 9), **more)


DOG = part("Dog", kind=(Literal["dog"], "dog"))
OLD = part(kept=(int, 1), word=(Literal["a", "b"], "a"), text=(str, ""))


class Tree(BaseModel):
    branches: list["Tree"] = []
    leaf: int = 0


class TreeWithoutLeaves(BaseModel):
    branches: list["TreeWithoutLeaves"] = []


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "field": lambda inner: inner,
    "field[]": lambda inner: GenericAlias(list, (inner,)),
    "field.*": lambda inner: GenericAlias(dict, (str, inner)),
    "field[][]": lambda inner: GenericAlias(list, (GenericAlias(list, (inner,)),)),
    "field[1]": lambda inner: GenericAlias(tuple, (int, inner)),
}


@pytest.mark.parametrize("holder", sorted(HOLDERS))
@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize(
    ("now", "found"),
    [
        (part(word=(Literal["a", "b"], "a"), text=(str, "")), ["field {}.kept is gone"]),
        (
            part(kept=(str, ""), word=(Literal["a", "b"], "a"), text=(str, "")),
            ["field {}.kept has another type"],
        ),
        (
            part(kept=(int, 1), word=(Literal["a", "b"], "a"), text=(str, ""), new=(int, NEEDED)),
            ["field {}.new has become required"],
        ),
        (
            part(kept=(int, 1), word=(Literal["a"], "a"), text=(str, "")),
            ["field {}.word no longer takes b"],
        ),
        (
            part(kept=(int, 1), word=(Literal["a", "b", "c"], "a"), text=(str, "")),
            ["field {}.word takes c, which readers do not know"],
        ),
        (
            part(
                kept=(Annotated[int, Field(le=9)], 1), word=(Literal["a", "b"], "a"), text=(str, "")
            ),
            ["field {}.kept has a tighter maximum"],
        ),
        (
            part(
                kept=(int, 1),
                word=(Literal["a", "b"], "a"),
                text=(Annotated[str, StringConstraints(pattern="^a")], "a"),
            ),
            ["field {}.text has another pattern"],
        ),
        (part(kept=(int, 1), word=(Literal["a", "b"], "a"), text=(str, ""), new=(int, 2)), []),
    ],
)
def test_a_change_of_a_nested_field(
    holder: str, optional: bool, now: Part, found: list[str]
) -> None:
    def holding(inner: Any) -> dict[str, Any]:
        held = HOLDERS[holder](inner)
        return part("Holder", field=(held | None if optional else held, NEEDED)).model_json_schema()

    assert breaks(holding(OLD), holding(now)) == [text.format(holder) for text in found]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (Annotated[int, Field(ge=1)], Annotated[int, Field(ge=2)], "a tighter minimum"),
        (Annotated[int, Field(lt=9)], Annotated[int, Field(lt=8)], "a tighter exclusiveMaximum"),
        (
            Annotated[str, Field(max_length=9)],
            Annotated[str, Field(max_length=8)],
            "a tighter maxL",
        ),
        (str, Annotated[str, Field(min_length=1)], "a tighter minLength"),
        (list[int], Annotated[list[int], Field(max_length=4)], "a tighter maxItems"),
        (Annotated[int, Field(ge=1)], int, "a looser minimum"),
        (int, int | None, "takes null, which readers do not know"),
        (int | None, int, "no longer takes null"),
        (int | str, int | bool, "no longer takes string"),
        (str, Literal["a"], "takes only a"),
        (Literal["a"], Literal["b"], "no longer takes a"),
        (tuple[int, int], tuple[int, int, int], "another number of entries"),
        (dict[str, int], dict[str, str], "field.* has another type"),
    ],
)
def test_a_change_of_a_type(before: Any, after: Any, found: str) -> None:
    old, new = (part(field=(one, NEEDED)).model_json_schema() for one in (before, after))
    assert found in "; ".join(breaks(old, new))
    assert breaks(old, old) == breaks(new, new) == []


def test_a_choice_by_a_discriminator_is_followed() -> None:
    def pets(*kinds: Part) -> dict[str, Any]:
        told: Any = kinds[0]
        for kind in kinds[1:]:
            told |= kind
        chosen = Annotated[told, Field(discriminator="kind")] if len(kinds) > 1 else told
        return part(pet=(chosen, NEEDED)).model_json_schema()

    both = pets(cat(), DOG)
    assert breaks(both, both) == []
    assert breaks(both, pets(DOG, cat())) == []
    assert breaks(both, pets(cat())) == ["field pet no longer takes Dog"]
    assert breaks(pets(cat()), both) == ["field pet takes Dog, which readers do not know"]
    assert breaks(both, pets(cat(name=(str, NEEDED)), DOG)) == [
        "field pet.name has become required"
    ]


def test_all_that_must_hold_is_one() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    split = {"allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": {"type": "string"}}}]}
    old = {"properties": {"field": split}, "$defs": {"A": inner}}
    whole = {**inner, "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    assert breaks(old, {"properties": {"field": whole}}) == []
    assert breaks(old, {"properties": {"field": inner}}) == ["field field.b is gone"]


def test_a_type_that_holds_itself_is_compared_once() -> None:
    old = Tree.model_json_schema()
    assert breaks(old, old) == []
    assert breaks(old, TreeWithoutLeaves.model_json_schema()) != []


def test_other_fields_may_be_taken_later_but_not_refused_later() -> None:
    closed, opened = ({"type": "object", "additionalProperties": one} for one in (False, True))
    assert breaks(closed, opened) == []
    assert breaks(opened, closed) == ["body takes no other fields any more"]


def test_what_grows_may_take_more_words_and_never_fewer() -> None:
    old, new = (
        part(field=(word, NEEDED), size=(Annotated[int, Field(le=most)], 1)).model_json_schema()
        | {GROWS: True}
        for word, most in ((Literal["a"], 5), (Literal["a", "b"], 6))
    )
    assert breaks(old, new) == []
    assert breaks(new, old) == ["field field no longer takes b", "field size has a tighter maximum"]
