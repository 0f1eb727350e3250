"""What the api does beside answering: checks its schema, makes `admin`, drops what expired."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from pydantic import SecretStr

from darkroom_api.accounts.accounts import Accounts
from darkroom_common.errors import DependencyUnavailable, Unhealthy
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
RETRY_SECONDS: Final = 1.0
CLEAN_SECONDS: Final = 3600.0


class Preparation:
    """Gets schema `api` ready, however late the database comes, and keeps it tidy.

    Attributes:
        tidies: are done every hour.
    """

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        password: SecretStr | None,
        tidies: Sequence[Callable[[], Awaitable[None]]],
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._password = password
        self.tidies = list(tidies)
        self._done = asyncio.Event()

    async def check(self) -> None:
        """Raise `Unhealthy` until the schema is ready."""
        if not self._done.is_set():
            raise Unhealthy("not prepared yet")

    async def then(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin work that needs the schema once that is ready."""
        await self._done.wait()
        await work()

    async def run(self) -> None:
        """Prepare, then tidy up every hour; cancel to stop.

        Raises:
            IncompatibleSchema: the schema does not suit this code; the service ends.
        """
        while not self._done.is_set():
            try:
                await require_compatible(self._database, schema="api", package="darkroom_api")
                if self._password is not None:
                    await self._accounts.ensure_administrator(self._password.get_secret_value())
                elif not await self._accounts.anybody():
                    log.error("administrator.missing", setting="DARKROOM_ADMIN_PASSWORD")
                self._done.set()
            except DependencyUnavailable as error:
                log.warning("api.waits", reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)
        while True:
            try:
                for tidy in self.tidies:
                    await tidy()
            except DependencyUnavailable as error:
                log.warning("expired.kept", reason=str(error))
            await asyncio.sleep(CLEAN_SECONDS)
