"""Passwords: Argon2id in threads, a few at a time, since each takes 19 MiB; the rest waits in line.

The line is short: who finds it full is told to come again. Those who sign in from a device that is
known to be theirs have a line of their own, and strangers never use all of the threads.
"""

import asyncio
import os
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
"""With one lane: of the costs that OWASP's cheat sheet on storing passwords takes for equal, those
that the standard library of C is asked the least pages for. 46 MiB in one pass take more than twice
the time of a processor: more of it goes into getting the memory than into hashing."""
AT_ONCE: Final = 2
STRANGERS_AT_ONCE: Final = 1
WAITING: Final = 32
"""In each of the two lines."""
WAITING_OF_AN_ADDRESS: Final = 8
"""Strangers."""
IN_LINE_SECONDS: Final = 20.0
"""That a request may wait there, on a slow machine."""


class LineFull(Exception):
    """Too many wait already."""


class Passwords:
    """Hashes and verifies. Verifying takes as long for a user who does not exist."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        usual = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._hasher = usual if hasher is None else hasher
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._strangers = asyncio.Semaphore(STRANGERS_AT_ONCE)
        self._known_waiting = 0
        self._waiting: Counter[str] = Counter()
        self._dummy = _of_nobody(self._hasher)

    @asynccontextmanager
    async def in_line(self, address: str, *, known: bool) -> AsyncIterator["Place"]:
        """Hold a place in the line for the length of a block.

        Args:
            address: of who asks.
            known: whether the device is known to be of the one who is named.

        Raises:
            LineFull: at once.
        """
        if known:
            if self._known_waiting >= WAITING:
                raise LineFull
            self._known_waiting += 1
        else:
            if self._waiting.total() >= WAITING or self._waiting[address] >= WAITING_OF_AN_ADDRESS:
                raise LineFull
            self._waiting[address] += 1
        try:
            yield Place(self, known=known)
        finally:
            if known:
                self._known_waiting -= 1
            else:
                self._waiting[address] -= 1
                self._waiting += Counter()  # without those that are 0

    async def hash(self, password: str) -> str:
        """Return the hash to keep."""
        async with self._turn:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def hash_anew(self, password_hash: str, password: str) -> str | None:
        """Return another hash of a password for one of other costs than today's; else None."""
        if not self._hasher.check_needs_rehash(password_hash):
            return None
        return await self.hash(password)

    async def verify(self, password_hash: str | None, password: str, *, known: bool) -> bool:
        """Tell whether the password is right; None stands for a user who does not exist.

        An empty one is of somebody who signs in elsewhere.
        """
        async with AsyncExitStack() as turns:
            if not known:
                await turns.enter_async_context(self._strangers)
            await turns.enter_async_context(self._turn)
            right = await asyncio.to_thread(self._verify, password_hash or self._dummy, password)
        return right and bool(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False


def _of_nobody(hasher: PasswordHasher) -> str:
    """Return a hash as the hasher makes them, without the time that one takes: of no password."""
    salt, digest = (
        b64encode(os.urandom(size)).decode().rstrip("=")
        for size in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${digest}"


class Place:
    """A place in the line."""

    def __init__(self, passwords: Passwords, *, known: bool) -> None:
        self._passwords = passwords
        self._known = known

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Verify when it is one's turn; see `Passwords.verify`."""
        return await self._passwords.verify(password_hash, password, known=self._known)
