"""Verifying the password of nobody does the work that verifying one of somebody does."""

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import Literal

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError

from darkroom_api.accounts.passwords import (
    AT_ONCE,
    STRANGERS_AT_ONCE,
    WAITING,
    WAITING_OF_AN_ADDRESS,
    LineFull,
    Passwords,
)
from tests.support.waiting import until


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


CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
DEARER = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)


class Slow(PasswordHasher):
    """Verifies as soon as it may, and knows how many do so at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.may = threading.Semaphore(0)
        self.now = self.most = 0
        self._lock = threading.Lock()

    def verify(self, *given: str | bytes) -> Literal[True]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.may.acquire(timeout=30)
        with self._lock:
            self.now -= 1
        return super().verify(*given)


async def test_a_hash_of_other_costs_is_made_anew_and_one_of_todays_is_kept() -> None:
    passwords = Passwords(CHEAP)
    assert await passwords.hash_anew(CHEAP.hash("secret"), "secret") is None
    anew = await passwords.hash_anew(DEARER.hash("secret"), "secret")
    assert anew is not None
    assert extract_parameters(anew) == extract_parameters(CHEAP.hash("x"))
    assert await passwords.verify(anew, "secret", known=False)


async def test_what_is_no_hash_is_no_password_of_anybody() -> None:
    passwords = Passwords(CHEAP)
    for kept in ("nonsense", CHEAP.hash("another")):
        assert await passwords.verify(kept, "secret", known=True) is False


async def test_usual_hashes_cost_what_owasp_asks_for() -> None:
    costs = extract_parameters(await Passwords().hash("secret"))
    assert (costs.memory_cost, costs.time_cost, costs.parallelism) == (19 * 1024, 2, 1)


async def places(passwords: Passwords, line: AsyncExitStack, *, known: bool, most: int) -> int:
    """Take places in a line, each of another address, until it is full; return how many."""
    for taken in range(most):
        try:
            await line.enter_async_context(passwords.in_line(f"10.0.0.{taken}", known=known))
        except LineFull:
            return taken
    return most


async def test_each_line_is_as_long_as_it_may_be_and_no_longer() -> None:
    """And neither takes a place of the other; places are given back."""
    passwords = Passwords(CHEAP)
    for _ in range(2):
        async with AsyncExitStack() as line:
            for known in (True, False):
                assert await places(passwords, line, known=known, most=2 * WAITING) == WAITING


async def test_strangers_of_one_address_have_some_of_the_places() -> None:
    passwords = Passwords(CHEAP)
    for _ in range(2):
        async with AsyncExitStack() as line:
            for _ in range(WAITING_OF_AN_ADDRESS):
                await line.enter_async_context(passwords.in_line("10.0.0.1", known=False))
            with pytest.raises(LineFull):
                await line.enter_async_context(passwords.in_line("10.0.0.1", known=False))
            await line.enter_async_context(passwords.in_line("10.0.0.1", known=True))
            await line.enter_async_context(passwords.in_line("10.0.0.2", known=False))
    assert not passwords._waiting, "addresses that have gone are not remembered"


async def test_strangers_never_have_all_threads_and_the_known_are_served_beside_them() -> None:
    hasher = Slow()
    passwords, kept = Passwords(hasher), hasher.hash("secret")

    async def sign_in(*, known: bool) -> bool:
        async with passwords.in_line("10.0.0.1", known=known) as place:
            return await place.verify(kept, "secret")

    strangers = [asyncio.create_task(sign_in(known=False)) for _ in range(3)]
    await until(lambda: hasher.now == STRANGERS_AT_ONCE)
    known = [asyncio.create_task(sign_in(known=True)) for _ in range(3)]
    await until(lambda: hasher.now == AT_ONCE)
    hasher.may.release(6)
    assert await asyncio.gather(*strangers, *known) == [True] * 6
    assert hasher.most == AT_ONCE


async def test_strangers_alone_are_served_one_by_one() -> None:
    hasher = Slow()
    passwords, kept = Passwords(hasher), hasher.hash("secret")
    hasher.may.release(4)
    asked = (passwords.verify(kept, "secret", known=False) for _ in range(4))
    assert await asyncio.gather(*asked) == [True] * 4
    assert hasher.most == STRANGERS_AT_ONCE
