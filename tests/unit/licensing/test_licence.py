"""A licence that is looked after: the cache on disk, files, and ten years of it (LIC-02)."""

import json
import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from darkroom_licensing.decision import Standing
from darkroom_licensing.document import Document, sign
from darkroom_licensing.issuers import FileIssuer
from darkroom_licensing.keeping import Kept
from darkroom_licensing.licence import Licence
from tests.support.licences import MONDAY, WORKING, ZONE, Clinic, SimulatedClock
from tests.support.odoo import SIGNED_BY

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MINUTE = timedelta(minutes=1)
STEP = 20
SEEDS = int(os.environ.get("LICENCE_SEEDS", "1"))


@pytest.mark.req("LIC-02")
async def test_73_hours_without_odoo_and_back_again_within_a_minute() -> None:
    """From Monday, 17:30 on: the grace ends on Thursday, 17:30, the working day at 18:00."""
    clinic = Clinic(clock=SimulatedClock(datetime(2026, 11, 30, 16, 30, tzinfo=UTC)))
    assert (await clinic.after()).state == "valid"
    clinic.away = "connect"
    at = clinic.clock.true
    while clinic.clock.true < at + 72 * HOUR:
        standing = await clinic.after(15 * MINUTE)
        assert not standing.read_only
    assert standing.state == "grace"
    standing = await clinic.after(HOUR)
    assert standing.read_only
    assert standing.state == "expired"
    assert "has not been confirmed since 2026-11-30 16:30 UTC: no connection" in standing.reason
    assert "read-only since 2026-12-03 18:00 (Europe/Berlin); patient data goes" in standing.reason
    clinic.away = ""
    standing = await clinic.after(MINUTE)
    assert (standing.state, standing.read_only, standing.reason) == ("valid", False, "")


@pytest.mark.req("LIC-02")
async def test_what_odoo_has_said_outlives_a_restart_without_it(tmp_path: Path) -> None:
    clinic = Clinic(remembered=Kept(tmp_path / "licence", "licence.json"))
    clinic.odoo.licence = {"limits": {"destinations": 4}}
    await clinic.after()
    file = tmp_path / "licence" / "licence.json"
    assert file.stat().st_mode & 0o777 == 0o600
    clinic.away = "slow"
    for _ in range(3):
        clinic.start()
        standing = await clinic.after(HOUR)
        assert standing.state == "grace"
        assert standing.document is not None
        assert standing.document.limits == {"destinations": 4}
    clinic.start()
    await clinic.after(72 * HOUR)
    clinic.start()
    assert (await clinic.after(DAY)).read_only  # a restart does not begin the grace anew


@pytest.mark.parametrize("text", ["", "{", "[]", '{"document": 5}', "\x00"])
async def test_a_cache_that_is_damaged_is_as_none(text: str) -> None:
    clinic = Clinic()
    clinic.remembered.write(text)
    clinic.start()
    assert (await clinic.after()).state == "valid"


async def test_a_cache_that_was_tampered_with_entitles_to_nothing() -> None:
    clinic = Clinic()
    await clinic.after()
    kept = json.loads(clinic.remembered.read())
    head, payload, signature = kept["document"].split(".")
    kept["document"] = f"{head}.{payload[:-8]}AAAAAAAA.{signature}"
    clinic.remembered.write(json.dumps(kept))
    clinic.away = "connect"
    clinic.start()
    standing = await clinic.after()
    assert standing.document is None
    assert standing.state == "grace"


class Full(Kept):
    def __init__(self) -> None:
        super().__init__(None, "")

    def write(self, text: str) -> None:
        del text
        raise OSError(28, "No space left on device")


async def test_a_full_disk_does_not_stop_it() -> None:
    clinic = Clinic(remembered=Full())
    assert (await clinic.after()).state == "valid"
    clinic.away = "connect"
    assert (await clinic.after(2 * HOUR)).state == "grace"


async def test_a_document_that_was_signed_for_another_question_is_not_taken() -> None:
    clinic = Clinic()
    document = clinic.reader.read(await _document_of(clinic))
    clinic.odoo.reuse = sign(document, clinic.odoo.signing, name=SIGNED_BY)
    standing = await clinic.after()
    assert "signed for another question" in standing.reason
    assert standing.state == "grace"


async def _document_of(clinic: Clinic) -> str:
    other = Clinic()
    other.odoo.signing = clinic.odoo.signing
    other.start()
    await other.after()
    return str(json.loads(other.remembered.read())["document"])


async def test_a_refusal_of_odoo_and_its_end() -> None:
    clinic = Clinic()
    await clinic.after()
    clinic.odoo.refusal = "The contract was cancelled"
    standing = await clinic.after(HOUR)
    assert standing.state == "invalid"
    assert "The licence server says: The contract was cancelled." in standing.reason
    clinic.odoo.refusal = ""
    clinic.away = "connect"
    both = (await clinic.after(MINUTE)).reason
    assert "The contract was cancelled. It cannot be asked again: no connection" in both
    clinic.away = ""
    assert (await clinic.after(MINUTE)).state == "valid"


@dataclass
class Offline:
    """An installation with a file."""

    directory: Path
    clinic: Clinic

    def start(self, path: Path | None = None) -> Licence:
        issuer = FileIssuer(path, self.directory)
        kept = Kept(self.directory, "licence.json")
        return Licence(issuer, self.clinic.reader, kept, self.clinic.clock, WORKING)

    def bring(self, issued: datetime, days: float, name: str = "licence.txt") -> None:
        document = Document(
            licence_id="OFF",
            installation="clinic-7",
            issued_at=issued,
            valid_from=issued - DAY,
            valid_until=issued + timedelta(days=days),
        )
        text = sign(document, self.clinic.odoo.signing, name=SIGNED_BY)
        (self.directory / name).write_text(f"{text}\n")


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    return Offline(tmp_path, Clinic())


async def test_a_file_that_is_brought_makes_a_licence_of_the_community_edition(
    offline: Offline,
) -> None:
    licence = offline.start()
    assert (await licence.standing()).state == "unconfigured"
    offline.bring(MONDAY, 365)
    standing = await licence.standing()
    assert standing.state == "valid"
    assert standing.document is not None
    assert standing.document.licence_id == "OFF"


async def test_a_file_ends_and_a_newer_one_takes_its_place_without_a_restart(
    offline: Offline,
) -> None:
    clock = offline.clinic.clock
    offline.bring(MONDAY, 10)
    licence = offline.start()
    for passed in range(12):
        clock.advance(DAY)
        standing = await licence.standing()
        assert standing.read_only is (passed >= 10)
    offline.bring(MONDAY - 20 * DAY, 300)
    assert (await licence.standing()).read_only  # older than the one in force
    offline.bring(MONDAY + 11 * DAY, 300)
    assert (await licence.standing()).state == "valid"


async def test_the_clock_does_not_prolong_a_file(offline: Offline) -> None:
    clock = offline.clinic.clock
    offline.bring(MONDAY, 10)
    for off in (0, 9, 11, 12, 5, 0):
        clock.off = off * DAY
        standing = await offline.start().standing()  # a restart each time
    assert standing.state == "expired"
    assert "has gone back" in standing.reason
    offline.bring(MONDAY + HOUR, 10)  # the vendor forgives
    assert (await offline.start().standing()).state == "valid"


async def test_a_file_that_is_set_and_not_there_is_said_so(offline: Offline) -> None:
    licence = offline.start(offline.directory / "none.txt")
    standing = await licence.standing()
    assert standing.state == "grace"
    assert "There is no licence file: the licence file cannot be read: No such" in standing.reason
    (offline.directory / "none.txt").write_bytes(b"\xff\xfe")
    assert "is no licence document" in (await licence.standing()).reason
    offline.bring(MONDAY, 300, "none.txt")
    assert (await licence.standing()).state == "valid"


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_ten_years_of_renewals_outages_clocks_upgrades_and_refusals(seed: int) -> None:
    """Every refusal has its true reason, is told before, and begins when a working day ends."""
    chance = random.Random(seed)
    clinic = Clinic(clock=SimulatedClock(MONDAY))
    end = clinic.clock.true + 365 * DAY
    seen: set[str] = set()
    told = False
    for hour in range(0, 10 * 365 * 24, STEP):
        world = _world(clinic, chance, hour)
        if world == "renewed":
            end = clinic.clock.true + 365 * DAY
        clinic.odoo.licence = {"valid_until": end, "valid_from": MONDAY - DAY}
        if world == "restarted":
            clinic.start()
        standing = await clinic.after(STEP * HOUR)
        told = _judge(clinic, standing, end, told=told)
        seen.add(standing.stage.partition(":")[0] + (" read-only" if standing.read_only else ""))
    read_only = {"unreachable read-only", "refused read-only", "ended read-only"}
    assert len(read_only & seen) >= (2 if seed else 3)
    assert "clock" in seen
    clinic.away = clinic.odoo.refusal = clinic.odoo.fault = ""
    clinic.clock.off = timedelta()
    end = clinic.clock.true + 365 * DAY
    clinic.odoo.licence = {"valid_until": end}
    assert (await clinic.after(MINUTE)).state == "valid"
    last = max(expires for expires in clinic.odoo.keys.values() if expires)
    assert last > clinic.clock.true.date()


def _world(clinic: Clinic, chance: random.Random, hour: int) -> str:
    """Change something of the world, at times."""
    clinic.odoo.version = 17 + hour // 14_600
    if chance.random() < 0.03:
        clinic.away = chance.choice(["", "", "connect", "slow"])
    if chance.random() < 0.003:
        clinic.odoo.refusal = "The contract was cancelled" if not clinic.odoo.refusal else ""
    elif chance.random() < 0.05:
        clinic.odoo.refusal = ""
    if chance.random() < 0.004:
        clinic.clock.off = timedelta(days=chance.choice([0, 0, 1, -1, 40, -40, 3650, -3650]))
    if chance.random() < 0.005:
        clinic.odoo.fault = chance.choice(["", "", "503", "html", "500"])
    elif chance.random() < 0.1:
        clinic.odoo.fault = ""
    if chance.random() < 0.01:
        return "restarted"
    return "renewed" if chance.random() < 0.0006 else ""


def _judge(clinic: Clinic, standing: Standing, end: datetime, *, told: bool) -> bool:
    answering = not clinic.away and not clinic.odoo.fault
    now = clinic.clock.true
    if answering:  # its time counts: what is said is true of the world
        if clinic.odoo.refusal:
            assert "The contract was cancelled" in standing.reason
        elif now < end:
            assert standing.state in ("valid", "grace"), standing
            assert not standing.read_only
        elif standing.read_only:
            assert f"The licence ends on {end:%Y-%m-%d}" in standing.reason
    if standing.read_only:
        assert standing.reason
        assert standing.notice == "users"
        assert told, "nobody was told before"
        assert standing.read_only_from is not None
        there = standing.read_only_from.astimezone(ZONE)
        assert (there.time(), there.isoweekday() < 6) == (time(18), True)
    return standing.notice == "users"
