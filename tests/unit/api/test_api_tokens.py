"""Access tokens: what is ours and valid passes, everything else does not."""

import base64
import hashlib
import hmac
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from darkroom_api.accounts import tokens as tokens_module
from darkroom_api.accounts.tokens import (
    ACCESS_LIFETIME,
    LEEWAY,
    MAX_LENGTH,
    AccessTokens,
    ExpiredToken,
    InvalidToken,
)

KEY = b"k" * 32
USER, SESSION = uuid.uuid4(), uuid.uuid4()


class StillClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def tokens(clock: StillClock) -> AccessTokens:
    return AccessTokens(KEY, clock)


def issue(tokens: AccessTokens) -> str:
    return tokens.issue(user_id=USER, username="admin", roles=["viewer"], session_id=SESSION)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forge(header: object, claims: object, key: bytes = KEY) -> str:
    signed = f"{segment(header)}.{segment(claims)}"
    signature = hmac.digest(key, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def good(clock: StillClock, **changes: Any) -> dict[str, Any]:
    now = int(clock.now().timestamp())
    return {
        "iss": "darkroom",
        "aud": "darkroom-api",
        "sub": str(USER),
        "sid": str(SESSION),
        "jti": str(uuid.uuid4()),
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        **changes,
    }


HEADER = {"alg": "HS256", "typ": "at+jwt"}


def test_our_own_token_passes(tokens: AccessTokens, clock: StillClock) -> None:
    claims = tokens.verify(issue(tokens))
    assert (claims.user_id, claims.session_id) == (USER, SESSION)
    assert tokens.verify(forge(HEADER, good(clock))).user_id == USER


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "typ": "at+jwt"},
        {"alg": "None", "typ": "at+jwt"},
        {"alg": "HS512", "typ": "at+jwt"},
        {"alg": "RS256", "typ": "at+jwt"},
        {"alg": "HS256", "typ": "JWT"},
        {"alg": "HS256"},
        {"typ": "at+jwt"},
        {**HEADER, "crit": ["exp"]},
        {**HEADER, "crit": ["unknown"], "unknown": 1},
        {**HEADER, "b64": False},
        {**HEADER, "jku": "https://example.org/keys"},
        {**HEADER, "x5u": "https://example.org/keys"},
        {**HEADER, "jwk": {"kty": "oct", "k": "a2tr"}},
        {**HEADER, "kid": "../../dev/null"},
        {**HEADER, "zip": "DEF"},
        [],
        "HS256",
        None,
    ],
)
def test_a_header_of_another_form_is_refused(
    tokens: AccessTokens, clock: StillClock, header: object
) -> None:
    for token in (
        forge(header, good(clock)),
        forge(header, good(clock), key=b""),
        f"{segment(header)}.{segment(good(clock))}.",
    ):
        with pytest.raises(InvalidToken):
            tokens.verify(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "elsewhere"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["darkroom-api", "x"]},
        {"sub": "admin"},
        {"sub": None},
        {"sid": ""},
        {"jti": 7},
        {"exp": "9999999999"},
        {"exp": 99999999999},
        {"exp": True},
        {"exp": None},
        {"iat": None},
        {"nbf": None},
        {"nbf": 99999999999},
        {"iat": 99999999999, "exp": 99999999999 + 10},
        {"exp": 1e12},
    ],
)
def test_claims_of_another_kind_are_refused(
    tokens: AccessTokens, clock: StillClock, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify(forge(HEADER, good(clock, **changes)))


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp"])
def test_each_claim_is_needed(tokens: AccessTokens, clock: StillClock, name: str) -> None:
    claims = good(clock)
    del claims[name]
    with pytest.raises(InvalidToken):
        tokens.verify(forge(HEADER, claims))


def test_another_key_or_a_changed_part_is_refused(tokens: AccessTokens, clock: StillClock) -> None:
    token = issue(tokens)
    head, body, signature = token.split(".")
    swapped = segment({**good(clock), "sub": str(uuid.uuid4())})
    for bad in (
        forge(HEADER, good(clock), key=b"x" * 32),
        f"{head}.{swapped}.{signature}",
        f"{head}.{body}",
        f"{head}.{body}.",
        f"{token}.x",
        "",
        "...",
        "é.é.é",
        "A" * 5000,
    ):
        with pytest.raises(InvalidToken):
            tokens.verify(bad)


def test_only_age_makes_a_token_of_ours_an_expired_one(
    tokens: AccessTokens, clock: StillClock
) -> None:
    old = good(clock)
    clock.time += ACCESS_LIFETIME + timedelta(hours=1)
    with pytest.raises(ExpiredToken):
        tokens.verify(forge(HEADER, old))
    for changed in (
        forge(HEADER, old, key=b"x" * 32),
        forge({**HEADER, "kid": "1"}, old),
        forge(HEADER, {**old, "aud": "another"}),
        forge(HEADER, {**old, "sid": ""}),
        forge(HEADER, {**old, "iat": old["iat"] - 8 * 3600}),
    ):
        with pytest.raises(InvalidToken) as caught:
            tokens.verify(changed)
        assert not isinstance(caught.value, ExpiredToken)


def test_time_is_kept_with_a_small_leeway(tokens: AccessTokens, clock: StillClock) -> None:
    token = issue(tokens)
    start = clock.time
    clock.time = start + ACCESS_LIFETIME + timedelta(seconds=20)
    tokens.verify(token)
    clock.time = start + ACCESS_LIFETIME + timedelta(seconds=61)
    with pytest.raises(ExpiredToken):
        tokens.verify(token)
    clock.time = start - timedelta(seconds=20)
    tokens.verify(token)
    clock.time = start - timedelta(seconds=61)
    with pytest.raises(InvalidToken):
        tokens.verify(token)


@pytest.mark.req("API-01")
def test_a_token_of_ed25519_is_ours_alone(clock: StillClock) -> None:
    by_key_pair = AccessTokens(KEY, clock, "EdDSA")
    token = issue(by_key_pair)
    assert by_key_pair.verify(token).user_id == USER
    header = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
    assert header == {"alg": "Ed25519", "typ": "at+jwt"}
    for other, given in (
        (AccessTokens(KEY, clock), token),  # the algorithm of the setting, and no other
        (by_key_pair, issue(AccessTokens(KEY, clock))),
        (AccessTokens(b"x" * 32, clock, "EdDSA"), token),
        (by_key_pair, forge({"alg": "Ed25519", "typ": "at+jwt"}, good(clock))),
        (by_key_pair, token[:-4] + "AAAA"),
    ):
        with pytest.raises(InvalidToken):
            other.verify(given)
    assert by_key_pair.verify(issue(AccessTokens(KEY, clock, "EdDSA"))).session_id == SESSION


def test_what_is_longer_than_any_of_ours_is_not_looked_at(
    tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def look(token: str) -> dict[str, str]:
        looked.append(len(token))
        return {}

    monkeypatch.setattr(tokens_module, "_header", look)
    for length in (MAX_LENGTH, MAX_LENGTH + 1):
        with pytest.raises(InvalidToken):
            tokens.verify("x" * length)
    assert looked == [MAX_LENGTH]
    assert len(issue(tokens)) < MAX_LENGTH / 4


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_of_a_clock_that_is_ahead_is_taken_within_its_leeway(
    tokens: AccessTokens, clock: StillClock, claim: str
) -> None:
    now = int(clock.now().timestamp())
    edge = good(clock, **{claim: now + LEEWAY, "exp": now + LEEWAY + 1})
    assert tokens.verify(forge(HEADER, edge)).user_id == USER
    with pytest.raises(InvalidToken, match="not valid yet"):
        tokens.verify(forge(HEADER, edge | {claim: now + LEEWAY + 1}))
