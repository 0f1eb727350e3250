"""The second factor in its tables: each code once, a secret once, and nobody else's."""

import asyncio
import base64
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from darkroom_api.accounts.totp import PERIOD, RECOVERY_CODES, SecondFactor, base32, code_at
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database
from darkroom_common.seal import Seal
from tests.support.database import Prepared

SEAL = Seal(PhiKeys(1, {1: base64.b64encode(bytes(32)).decode()}))
_USER = (
    "INSERT INTO api.app_user (username, username_key, password_hash)"
    " VALUES ($1, $1, 'x') RETURNING id"
)


@dataclass
class Clock:
    """A clock that a test moves."""

    seconds: int = 1_800_000_000

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.seconds, dt.UTC)

    def monotonic(self) -> float:
        return float(self.seconds)

    @property
    def step(self) -> int:
        return self.seconds // PERIOD


@dataclass
class House:
    """Users with and without a second factor."""

    database: Database
    prepared: Prepared
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.factor = SecondFactor(SEAL, self.clock)

    async def user(self) -> uuid.UUID:
        rows = await self.prepared.fetch(_USER, uuid.uuid4().hex)
        found: uuid.UUID = rows[0]["id"]
        return found

    async def begin(self, user: uuid.UUID) -> bytes | None:
        async with self.database.transaction() as db:
            return await self.factor.begin(db, user)

    async def confirm(self, user: uuid.UUID, code: str) -> list[str] | None:
        async with self.database.transaction() as db:
            return await self.factor.confirm(db, user, code)

    async def take(self, user: uuid.UUID, code: str) -> bool:
        async with self.database.transaction() as db:
            return await self.factor.take(db, user, code)

    async def needed(self, user: uuid.UUID) -> bool:
        async with self.database.transaction() as db:
            return await self.factor.is_needed(db, user)

    async def with_one(self) -> tuple[uuid.UUID, bytes, list[str]]:
        """Return a user with a second factor, its secret and its recovery codes."""
        user = await self.user()
        secret = await self.begin(user)
        assert secret is not None
        codes = await self.confirm(user, code_at(secret, self.clock.step))
        assert codes is not None
        self.clock.seconds += 10 * PERIOD  # no code of now was taken yet
        return user, secret, codes


@pytest.fixture
async def house(superuser_url: str) -> AsyncIterator[House]:
    prepared = await Prepared.make(superuser_url, "api")
    async with prepared.login("api") as database:
        yield House(database, prepared)


async def test_a_secret_is_in_force_once_its_first_code_is_confirmed(house: House) -> None:
    user = await house.user()
    assert await house.confirm(user, "000000") is None, "nothing waits to be confirmed"
    first = await house.begin(user)
    secret = await house.begin(user)
    assert first is not None
    assert secret is not None
    assert secret != first, "until then it may be begun anew"
    assert len(secret) == 20, "RFC 4226 section 4 recommends 160 bits"
    assert not await house.needed(user)
    code = code_at(secret, house.clock.step)
    assert not await house.take(user, code), "nobody signs in with what is not in force"
    for wrong in (
        code_at(first, house.clock.step),
        code_at(secret, house.clock.step + 5),
        "x",
        "",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "12345é",
    ):
        assert await house.confirm(user, wrong) is None
    assert not await house.needed(user)
    codes = await house.confirm(user, code)
    assert codes is not None
    assert len({*codes}) == RECOVERY_CODES
    assert all(len(one.replace("-", "")) == 24 for one in codes)
    assert await house.needed(user)
    assert await house.begin(user) is None, "one that is in force is not written over"
    house.clock.seconds += PERIOD
    assert await house.confirm(user, code_at(secret, house.clock.step)) is None
    assert await house.take(user, code_at(secret, house.clock.step)), "that took no code"


async def test_a_code_is_good_in_its_own_period_and_those_beside(house: House) -> None:
    user, secret, _ = await house.with_one()
    now = house.clock.step
    for far in (-2, 2):
        assert not await house.take(user, code_at(secret, now + far))
    for near in (-1, 0, 1):
        assert await house.take(user, code_at(secret, now + near))


async def test_a_code_is_taken_once_and_so_is_each_earlier_one(house: House) -> None:
    user, secret, _ = await house.with_one()
    now = house.clock.step
    taken = await asyncio.gather(*(house.take(user, code_at(secret, now)) for _ in range(4)))
    assert sorted(taken) == [False, False, False, True]
    assert not await house.take(user, code_at(secret, now - 1))
    assert await house.take(user, code_at(secret, now + 1))


async def test_the_code_that_confirmed_signs_nobody_in(house: House) -> None:
    user = await house.user()
    secret = await house.begin(user)
    assert secret is not None
    code = code_at(secret, house.clock.step)
    assert await house.confirm(user, code) is not None
    assert not await house.take(user, code)


async def test_a_recovery_code_is_taken_once_however_it_is_typed(house: House) -> None:
    user, _, codes = await house.with_one()
    first, second, *_ = codes
    assert await house.take(user, f" {first.lower().replace('-', ' ')} ")
    assert not await house.take(user, first)
    assert not await house.take(user, second[:-1])
    assert await house.take(user, second)


async def test_nobodys_codes_are_anybody_elses(house: House) -> None:
    one, secret, codes = await house.with_one()
    other, _, _ = await house.with_one()
    nobody = await house.user()
    house.clock.seconds += PERIOD
    code = code_at(secret, house.clock.step)
    for user in (other, nobody):
        assert not await house.take(user, codes[0])
        assert not await house.take(user, code)
    assert await house.take(one, codes[0])
    assert await house.take(one, code)


async def test_what_was_removed_asks_for_nothing_and_can_be_begun_anew(house: House) -> None:
    user, secret, codes = await house.with_one()
    async with house.database.transaction() as db:
        assert await house.factor.remove(db, user) is True
        assert await house.factor.remove(db, user) is False
    assert not await house.needed(user)
    assert not await house.take(user, code_at(secret, house.clock.step))
    assert not await house.take(user, codes[0])
    anew = await house.begin(user)
    assert anew is not None
    more = await house.confirm(user, code_at(anew, house.clock.step))
    assert more is not None
    assert not await house.take(user, codes[0]), "the codes of before are gone with it"
    assert await house.take(user, more[0])


async def test_the_secret_is_sealed_and_codes_are_kept_as_digests(house: House) -> None:
    user, secret, codes = await house.with_one()
    rows = await house.prepared.fetch("SELECT t::text FROM api.totp t WHERE user_id = $1", user)
    assert base32(secret) not in rows[0][0]
    rows = await house.prepared.fetch("SELECT r::text FROM api.recovery_code r")
    assert len(rows) == RECOVERY_CODES
    assert not any(codes[0].split("-")[0] in row[0] for row in rows)
