"""Waiting in tests: for what must come, and that what must not come does not.

A test waits for a signal where there is one. Where another process gives none, it polls here: with
a time limit that says what was waited for, so that nothing else in the tests has to sleep.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, overload

T = TypeVar("T")
LIMIT: Final = 60.0
"""Seconds after which what was waited for is missing, also on a machine that is slow and busy."""
POLL: Final = 0.03
_SLOWER, _SLOWEST = 0.1, 0.5
"""What takes long is asked for less often: after each pause a tenth of the time waited, at most
half a second; each question may be a connection to PostgreSQL."""


@overload
async def until(
    condition: Callable[[], Awaitable[T | None]],
    what: str = "",
    *,
    limit: float = LIMIT,
    poll: float = POLL,
    retry: tuple[type[Exception], ...] = (),
) -> T: ...
@overload
async def until(
    condition: Callable[[], T | None],
    what: str = "",
    *,
    limit: float = LIMIT,
    poll: float = POLL,
    retry: tuple[type[Exception], ...] = (),
) -> T: ...
async def until(
    condition: Callable[[], Any],
    what: str = "",
    *,
    limit: float = LIMIT,
    poll: float = POLL,
    retry: tuple[type[Exception], ...] = (),
) -> Any:
    """Return the first true value of a condition; exceptions of `retry` count as not yet.

    Raises:
        AssertionError: the limit has passed; it names `what` and the last value or exception.
    """
    began = time.monotonic()
    last: object = None
    while True:
        try:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            last = value
        except retry as error:
            last = error
        waited = time.monotonic() - began
        if waited > limit:
            name = what or getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"not within {limit:g} s: {name}; last: {last!r}")
        await asyncio.sleep(max(poll, min(_SLOWER * waited, _SLOWEST)) if poll else 0)


def until_true(condition: Callable[[], T], what: str = "", *, limit: float = LIMIT) -> T:
    """Do as `until`, in a thread."""
    deadline = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {limit:g} s: {what or condition}"
        time.sleep(POLL)
    return value


async def succeeds(
    call: Callable[[], Awaitable[T]], *errors: type[Exception], limit: float = LIMIT
) -> T:
    """Return what a call returns once it raises none of these errors any more."""
    results: list[T] = []

    async def tried() -> bool:
        results.append(await call())
        return True

    await until(tried, getattr(call, "__qualname__", repr(call)), limit=limit, retry=errors)
    return results[0]


async def nothing_more(seconds: float) -> None:
    """Give what must not happen the time in which it would."""
    await asyncio.sleep(seconds)


async def lasting(seconds: float) -> None:
    """Let load, an outage or another fault last that long."""
    await asyncio.sleep(seconds)


def dawdle(seconds: float) -> None:
    """Be a peer that takes its time, in a thread of its own."""
    time.sleep(seconds)
