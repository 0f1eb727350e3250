"""Names of users that look like others."""

import pytest
from pydantic import ValidationError

from darkroom_api.people.users import UserChange


@pytest.mark.parametrize(
    "name",
    [
        "ad\u00admin",
        "admin\u200b",
        "admin\u3164",
        "admin\ufe0f",
        "ad\u034fmin",
        "\u115fadmin",
        "admin\U000e0101",
        "admin\u202e",
        " admin",
        "\u2003",
    ],
)
def test_a_name_has_nothing_that_cannot_be_seen(name: str) -> None:
    with pytest.raises(ValidationError):
        UserChange(username=name)


@pytest.mark.parametrize("name", ["admin", "jörg", "김하나", "محمد", "dr. no", "a@hospital.com"])
def test_other_names_may_be(name: str) -> None:
    assert UserChange(username=name).username == name
