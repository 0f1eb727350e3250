"""Checks of the licence are forgotten in time; the one in force never is."""

import pytest

from darkroom_licensing.checks import OLD_CHECKS
from tests.support.database import Prepared

_ADD = (
    "INSERT INTO licensing.licence_check (state, checked_at)"
    " SELECT 'valid', now() - make_interval(days => n) FROM generate_series($1, $2, -1) AS n"
)


@pytest.mark.parametrize(("oldest", "newest", "gone"), [(600, 300, 236), (600, 400, 200)])
async def test_old_checks_are_removed_but_for_the_last(
    superuser_url: str, oldest: int, newest: int, gone: int
) -> None:
    prepared = await Prepared.make(superuser_url, "licensing")
    await prepared.fetch(_ADD, oldest, newest)
    async with prepared.login("licensing") as database:
        assert await OLD_CHECKS.run(database) == gone
        assert await OLD_CHECKS.run(database) == 0
    assert len(await prepared.fetch("SELECT FROM licensing.licence_check")) >= 1
