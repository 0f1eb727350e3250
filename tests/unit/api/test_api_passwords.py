"""Verifying the password of nobody does the work that verifying one of somebody does."""

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError

from darkroom_api.accounts.passwords import Passwords


async def test_nobody_costs_what_somebody_costs() -> None:
    hasher = PasswordHasher(time_cost=2, memory_cost=1 << 10, parallelism=1)
    passwords, kept = Passwords(hasher), hasher.hash("secret")
    assert extract_parameters(passwords._dummy) == extract_parameters(kept)
    with pytest.raises(VerifyMismatchError):  # it was computed and compared, not refused as broken
        hasher.verify(passwords._dummy, "secret")
    for password_hash in (None, ""):
        assert not await passwords.verify(password_hash, "secret", known=True)
    assert await passwords.verify(kept, "secret", known=True)


def test_no_two_hashes_of_nobody_are_alike() -> None:
    assert Passwords()._dummy != Passwords()._dummy
