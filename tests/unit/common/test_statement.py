"""Names in statements: names of schemas, tables and columns, and nothing else."""

import pytest

from darkroom_common.postgres.statement import statement


def test_names_are_put_in_their_places() -> None:
    text = statement("SELECT {column} FROM {schema}.outbox", schema="index", column="phi_key")
    assert text == "SELECT phi_key FROM index.outbox"


@pytest.mark.parametrize(
    "name", ["", "a b", "a;", 'a"', "a'", "a.b", "A", "1a", "a\n", "--", "é", "a" * 64]
)
def test_what_is_no_plain_name_is_refused_without_being_repeated(name: str) -> None:
    with pytest.raises(ValueError, match=r"^not the name of a schema, table or column$"):
        statement("DELETE FROM {table}", table=name)


def test_a_missing_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        statement("DELETE FROM {table}")
