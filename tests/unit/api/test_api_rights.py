"""Sets of permissions, with wildcards: what two have in common, and what goes beyond another."""

from hypothesis import given
from hypothesis import strategies as st

from darkroom_api.accounts.permissions import (
    EVERYTHING,
    Permission,
    common,
    exceeding,
    has,
    is_permission,
)

NAMES = sorted(
    {EVERYTHING, *map(str, Permission), *(f"{one.partition(':')[0]}:*" for one in Permission)}
)
some = st.frozensets(st.sampled_from(NAMES), max_size=6)


@given(some, some)
def test_what_two_have_in_common_both_allow(one: frozenset[str], other: frozenset[str]) -> None:
    both = common(one, other)
    for permission in Permission:
        assert has(permission, both) == (has(permission, one) and has(permission, other))


@given(some, some)
def test_what_does_not_go_beyond_allows_nothing_more(
    wanted: frozenset[str], held: frozenset[str]
) -> None:
    beyond = exceeding(wanted, held)
    assert set(beyond) <= wanted
    if not beyond:
        assert all(has(p, held) for p in Permission if has(p, wanted))
    assert exceeding(wanted, frozenset({EVERYTHING})) == []
    assert exceeding(wanted, wanted) == []


@given(st.text(max_size=20))
def test_other_words_are_no_permissions(text: str) -> None:
    assert is_permission(text) == (text in NAMES)


def test_a_later_permission_of_a_resource_is_not_granted_by_all_of_today() -> None:
    """Whoever has each permission on studies, one by one, has not `studies:*`."""
    each = frozenset(str(one) for one in Permission if one.startswith("studies:"))
    assert exceeding(["studies:*"], each) == ["studies:*"]
    assert exceeding(each, frozenset({"studies:*"})) == []
    assert exceeding(["*"], frozenset(map(str, Permission))) == ["*"]
