"""The total of a list: counted up to its cap, and the planner's estimate beyond it."""

import pytest

from darkroom_common.postgres.listing import COUNT_CAP, Order, Window, page
from tests.support.database import Prepared

BY_NUMBER = Order({"n": int})


@pytest.mark.parametrize(
    ("rows", "is_estimate"), [(0, False), (COUNT_CAP, False), (COUNT_CAP + 1, True)]
)
async def test_a_total_is_exact_up_to_the_cap_and_never_below_it(
    superuser_url: str, rows: int, is_estimate: bool
) -> None:
    prepared = await Prepared.make(superuser_url, "metadata")
    source = "SELECT n FROM generate_series(1, 20000) AS n WHERE n <= $1"
    async with prepared.login("metadata") as database, database.acquire() as db:
        found = await page(db, source, Window(BY_NUMBER, 2), bound=(rows,))
    assert found.is_estimate is is_estimate
    assert found.total >= rows
    assert found.total == rows or is_estimate
    assert [row["n"] for row in found.rows] == [1, 2][:rows]
    assert found.last == ((2,) if rows else None)
