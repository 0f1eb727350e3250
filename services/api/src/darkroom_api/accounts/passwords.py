"""Passwords: Argon2id in threads, a few at a time, since each takes 64 MiB."""

import asyncio
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE: Final = 2


class Passwords:
    """Hashes and verifies. Verifying takes as long for a user who does not exist."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = PasswordHasher() if hasher is None else hasher
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._dummy = self._hasher.hash("somebody who does not exist")

    async def hash(self, password: str) -> str:
        """Return the hash to keep."""
        async with self._turn:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tell whether the password is right; None stands for a user who does not exist."""
        async with self._turn:
            right = await asyncio.to_thread(self._verify, password_hash or self._dummy, password)
        return right and password_hash is not None

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
