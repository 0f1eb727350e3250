"""A database on another machine is reached safely or, on purpose, not."""

import pytest
from pydantic import SecretStr

from darkroom_common.postgres.address import require_safe

HERE = [
    "postgresql://role:pw@127.0.0.1:5432/darkroom",
    "postgresql://role:p%40w@localhost/darkroom",
    "postgresql://role:pw@[::1]:5432/darkroom",
    "postgresql://role:pw@127.0.0.1:1,127.0.0.2:2/darkroom",
    "postgresql:///darkroom?host=/run/postgresql",
    "postgresql://role:pw@%2Frun%2Fpostgresql/darkroom",
]
SAFE = [
    "postgresql://role:pw@db:5432/darkroom?sslmode=verify-full&sslrootcert=/ca.crt",
    "postgresql://role:pw@10.0.0.1/darkroom?sslmode=disable",
]
NEITHER = [
    "postgresql://role:pw@db:5432/darkroom",
    "postgresql://role:pw@10.0.0.1/darkroom?sslmode=prefer",
    "postgresql://role:pw@db/darkroom?sslmode=require",
    "postgresql://role:pw@db/darkroom?sslmode=verify-ca&sslrootcert=/ca.crt",
    "postgresql://role:pw@127.0.0.1:1,db:2/darkroom",
    "postgresql://role:pw@127.0.0.1.example/darkroom",
    "postgresql:///darkroom?host=db",
    "postgresql://role:pw@localhost.example/darkroom?sslmode=disable&sslmode=require",
]


@pytest.mark.parametrize("url", HERE + SAFE)
def test_what_is_here_or_safe_or_said_is_taken(url: str) -> None:
    assert require_safe(SecretStr(url)).get_secret_value() == url


@pytest.mark.parametrize("url", NEITHER)
def test_what_is_neither_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="verify-full") as refused:
        require_safe(SecretStr(url))
    assert "pw" not in str(refused.value)
