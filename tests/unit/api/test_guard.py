"""What is remembered of who asks: for how long, until when, and until whose word."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from darkroom_api.accounts import guard as guard_module
from darkroom_api.accounts.guard import KEY_PREFIX, REMEMBERED, TRUST_SECONDS, Guard
from darkroom_api.accounts.tokens import AccessClaims, ExpiredToken, InvalidToken
from darkroom_api.http.errors import ApiError

TOKEN = "t"
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Time:
    """A clock that a test moves; the wall clock by itself, too."""

    seconds: float = 0.0
    set_by: float = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds + self.set_by)


@dataclass
class Accounts:
    """Counts how often it is asked; knows the sessions and keys that are not ended."""

    asked: int = 0
    ended: bool = False
    lasts: float = 3600.0

    async def of_session(self, **_: object) -> Any:
        self.asked += 1
        return (
            None
            if self.ended
            else {
                "id": uuid.UUID(int=1),
                "username": "u",
                "roles": ["r"],
                "permissions": ["studies:read", "users:write"],
            }
        )

    async def of_key(self, _: str) -> Any:
        self.asked += 1
        return (
            None
            if self.ended
            else {
                "id": uuid.UUID(int=1),
                "username": "u",
                "roles": ["r"],
                "key_id": uuid.UUID(int=2),
                "permissions": ["studies:read", "users:write"],
                "of_key": ["studies:read"],
                "expires_at": START + timedelta(seconds=self.lasts),
            }
        )


class Tokens:
    """Verifies what it is told to; a browser's header is a constant."""

    def __init__(self, lasts: float) -> None:
        self.lasts = lasts
        self.fault: Exception | None = None

    def verify(self, _: str) -> AccessClaims:
        if self.fault is not None:
            raise self.fault
        ends = START + timedelta(seconds=self.lasts)
        return AccessClaims(uuid.UUID(int=1), uuid.UUID(int=3), uuid.UUID(int=4), ends)

    def mac(self, *_: object) -> str:
        return "csrf="


class Word:
    """What another process has said."""

    said = False

    def heard(self) -> bool:
        heard, self.said = self.said, False
        return heard

    def say(self) -> None:
        self.said = True


@dataclass
class Bench:
    time: Time = field(default_factory=Time)
    accounts: Accounts = field(default_factory=Accounts)
    tokens: Tokens = field(default_factory=lambda: Tokens(3600.0))
    word: Word = field(default_factory=Word)

    def __post_init__(self) -> None:
        parts: Any = (self.tokens, self.accounts, self.time, self.word)
        self.guard = Guard(*parts)

    async def ask(self, token: str = TOKEN) -> Any:
        return await self.guard.authenticate(f"Bearer {token}")


async def test_a_session_is_trusted_for_its_seconds_and_no_longer() -> None:
    bench = Bench()
    await bench.ask()
    bench.time.seconds = TRUST_SECONDS - 0.1
    await bench.ask()
    assert bench.accounts.asked == 1
    bench.accounts.ended = True
    bench.time.seconds = TRUST_SECONDS
    with pytest.raises(ApiError):
        await bench.ask()
    assert bench.accounts.asked == 2


async def test_a_clock_that_is_set_back_prolongs_no_trust() -> None:
    bench = Bench()
    await bench.ask()
    bench.time.seconds, bench.time.set_by = TRUST_SECONDS, -3600.0
    await bench.ask()
    assert bench.accounts.asked == 2


@pytest.mark.parametrize("token", ["t", f"{KEY_PREFIX}x"])
async def test_what_ends_within_the_trust_is_not_used_after_its_end(token: str) -> None:
    bench = Bench()
    bench.tokens.lasts = bench.accounts.lasts = TRUST_SECONDS / 2
    await bench.ask(token)
    bench.time.seconds = TRUST_SECONDS / 2
    bench.tokens.fault = ExpiredToken("expired")
    bench.accounts.ended = True
    with pytest.raises(ApiError):
        await bench.ask(token)


async def test_a_word_of_another_process_ends_all_trust() -> None:
    bench = Bench()
    await bench.ask("a")
    await bench.ask("b")
    bench.guard.forget()
    await bench.ask("a")
    await bench.ask("b")
    assert bench.accounts.asked == 4


async def test_one_token_is_not_trusted_for_another() -> None:
    bench = Bench()
    await bench.ask("a")
    bench.accounts.ended = True
    with pytest.raises(ApiError):
        await bench.ask("b")


async def test_what_was_refused_is_not_remembered() -> None:
    bench = Bench()
    bench.tokens.fault = InvalidToken("signature")
    with pytest.raises(ApiError) as refused:
        await bench.ask()
    assert refused.value.status == 401
    bench.tokens.fault = None
    await bench.ask()


async def test_as_many_as_it_remembers_are_held_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard_module, "REMEMBERED", 3)
    bench = Bench()
    for name in "abcd":
        await bench.ask(name)
    assert len(bench.guard._known) == 1
    assert REMEMBERED >= 1000


async def test_a_key_may_do_what_both_it_and_its_owner_may() -> None:
    bench = Bench()
    principal = await bench.ask(f"{KEY_PREFIX}x")
    assert principal.permissions == {"studies:read"}
    assert (principal.presence, principal.key_id) == (None, uuid.UUID(int=2))
    with pytest.raises(ApiError) as refused:
        _ = principal.in_person
    assert refused.value.status == 403
    person = await bench.ask("t")
    assert person.permissions == {"studies:read", "users:write"}
    assert person.in_person.session_id == uuid.UUID(int=3)


@pytest.mark.parametrize("header", [None, "", "t", "Basic t", "Bearer", "Bearer  "])
async def test_what_is_no_bearer_is_nobody(header: str | None) -> None:
    bench = Bench()
    with pytest.raises(ApiError) as refused:
        await bench.guard.authenticate(header)
    assert refused.value.status == 401
    assert bench.accounts.asked == 0


@pytest.mark.parametrize(
    ("method", "header", "passes"),
    [
        ("GET", "", True),
        ("HEAD", "", True),
        ("POST", "csrf", True),
        ("POST", "csrf=", True),  # as it was until now
        ("POST", '"csrf="', True),  # as a script reads it in a cookie of that time
        ("POST", "", False),
        ("DELETE", "other", False),
        ("PUT", "csr\u00e9", False),
        ("PUT", "=", False),
    ],
)
async def test_a_browser_that_changes_something_says_its_header(
    method: str, header: str, *, passes: bool
) -> None:
    bench = Bench()
    headers = {"X-CSRFToken": header, "x-csrftoken": header} if header else {}
    if passes:
        principal = await bench.guard.authenticate_browser("t", method, headers)
        assert principal.username == "u"
        return
    with pytest.raises(ApiError) as refused:
        await bench.guard.authenticate_browser("t", method, headers)
    assert refused.value.status == 403
