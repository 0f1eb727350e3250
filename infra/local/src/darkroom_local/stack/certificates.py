"""Certificates of a stack that runs: renewed in time, and taken by its engines without a restart.

The services look at their files by themselves.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.engines.process import StartError
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ
from darkroom_local.engines.tls import TlsPair
from darkroom_local.stack.authority import OWNERS, Authority, names_of_here
from darkroom_local.stack.layout import Layout, Settings

LOOK_SECONDS: Final = 2.0
_DUE_EVERY: Final = 1800
"""Looks at the files between two looks whether one is about to expire."""
Stamps = dict[str, tuple[int, int]]


@dataclass
class Certificates:
    """Keeps what an authority has signed in force."""

    authority: Authority

    def pair(self, owner: str) -> TlsPair:
        """Return the files of one of `OWNERS`."""
        return self.authority.pair(owner)

    async def keep(
        self, postgres: PrivatePostgres | None, rabbitmq: PrivateRabbitMQ | None
    ) -> None:
        """Renew what is due and have the engines take what is new, whoever made it, for ever."""
        taken, looks = self._stamps(), 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            looks += 1
            if looks % _DUE_EVERY == 0:
                await asyncio.to_thread(self.authority.renew)
            found = self._stamps()
            changed = {owner for owner in found if found[owner] != taken.get(owner)}
            if "postgres" in changed and postgres is not None:
                postgres.reload()
                taken["postgres"] = found["postgres"]
            if "rabbitmq" in changed and rabbitmq is not None and await _taken(rabbitmq):
                taken["rabbitmq"] = found["rabbitmq"]

    def _stamps(self) -> Stamps:
        found: Stamps = {}
        for owner in OWNERS:
            state = self.authority.pair(owner).certificate.stat()
            found[owner] = state.st_ino, state.st_mtime_ns
        return found


async def _taken(rabbitmq: PrivateRabbitMQ) -> bool:
    try:
        await rabbitmq.reload()
    except StartError:
        return False  # it is being started again, and is told at the next look
    return True


def certificates(settings: Settings, layout: Layout) -> Certificates | None:
    """Return what keeps the certificates of a machine; None where its links are plain."""
    if settings.tls is None:
        return None
    return Certificates(Authority(layout, names_of_here(settings.tls.names)))
