"""When the chain looks for rows to join."""

import asyncio
from typing import Any

import pytest

from darkroom_api.audit import chain as module
from darkroom_api.audit.chain import ROWS, Chain


class Over(Exception):
    """Enough was seen."""


async def test_it_looks_each_second_while_rows_come_and_more_seldom_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing: Any = None
    looks: list[int] = []
    now = 0
    written = {12: 3, 13: 1}
    """Rows that this process writes, by the second."""
    joined = {5: ROWS}
    """Rows that others have left, by the number of the look."""

    async def join() -> int:
        looks.append(now)
        return joined.get(len(looks), 0)

    async def second(seconds: float) -> None:
        nonlocal now
        now += round(seconds)
        if now > 40:
            raise Over

    monkeypatch.setattr(asyncio, "sleep", second)
    chain = Chain(
        nothing,
        nothing,
        nothing,
        handed=lambda: sum(rows for at, rows in written.items() if at <= now),
    )
    monkeypatch.setattr(chain, "join", join)
    with pytest.raises(Over):
        await chain.run()
    assert module.SECONDS == 1
    # At 11 a whole link was made, so it looks again at once; at 12 and 13 this process has written.
    assert looks[:12] == [0, 1, 3, 7, 11, 11, 12, 13, 14, 16, 20, 24]
