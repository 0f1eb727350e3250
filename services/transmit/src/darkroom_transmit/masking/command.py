"""`python -m darkroom_transmit mask`: the objects of a restored copy, masked, in another store.

It reads the index of the copy and writes nothing to it. What cannot be masked is left out and told,
by what it will never be known as: the UID that stands for it. Exit code 0: done; 2: not done.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from darkroom_common.clock import utc_now
from darkroom_common.errors import ConfigurationError
from darkroom_common.index.objects import every_stored
from darkroom_common.index.rows import StoredInstance
from darkroom_common.objects.interface import ObjectStore
from darkroom_common.objects.keys import DEFAULT_TEMPLATE, KeyTemplate
from darkroom_common.objects.receipt import ReceiptReader
from darkroom_common.objects.store import open_store
from darkroom_common.output import say
from darkroom_common.postgres.phi import decode_key
from darkroom_common.postgres.pool import open_database
from darkroom_common.specs.deidentification import parse_profile
from darkroom_common.transcoding.converted import NATIVE_TARGETS
from darkroom_common.transcoding.converters import open_converters
from darkroom_common.transcoding.preparing import CannotPrepare, ObjectPreparer, Prepared
from darkroom_transmit.conversion.deidentify import keyed_uid
from darkroom_transmit.masking.rules import COMPRESSED, parse_rules
from darkroom_transmit.settings import TransmitSettings

MODULE: Final = "darkroom_transmit.masking.worker"
PROFILE: Final = "basic+retain-modified-dates"
"""The days of a patient are all shifted by the same number of days."""
AT_ONCE: Final = 4
_PAGE: Final = 500
_PIECE: Final = 1 << 20


@dataclass
class Masking:
    """Masks objects.

    Attributes:
        store: of the copy.
        target: of what is masked.
        change: for the worker: options, key, rules.
        keys: of the objects in the target.
        dry: nothing is written.
    """

    preparer: ObjectPreparer
    target: ObjectStore
    change: tuple[Sequence[str], str, str]
    keys: KeyTemplate
    dry: bool
    told: Counter[str] = field(default_factory=Counter)

    async def one(self, stored: StoredInstance) -> None:
        """Mask an object, or tell why it is left out."""
        try:
            async with self.preparer.prepare(stored, (), self.change) as made:
                await self._keep(made)
        except CannotPrepare as error:
            reason = error.reason
            if reason == COMPRESSED:
                with suppress(CannotPrepare):
                    await self._decoded(stored)
                    return
            self._refused(stored, reason)

    async def _decoded(self, stored: StoredInstance) -> None:
        async with self.preparer.prepare(stored, NATIVE_TARGETS) as plain:
            made = self.preparer.convert(Path(plain.path), NATIVE_TARGETS, self.change)
            async with made as masked:
                await self._keep(masked)

    def _refused(self, stored: StoredInstance, reason: str) -> None:
        self.told["refused"] += 1
        uid = keyed_uid(bytes.fromhex(self.change[1]), stored.sop_instance_uid)
        _say(event="refused", sop_instance_uid=uid, reason=reason)

    async def _keep(self, made: Prepared) -> None:
        self.told["masked"] += 1
        if not self.dry:
            await asyncio.to_thread(self._put, Path(made.path))

    def _put(self, path: Path) -> None:
        reader = ReceiptReader()
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                reader.feed(piece)
        receipt = reader.finish(receipt_id="masked", received_at=utc_now())
        key = self.keys.key(receipt.identity, receipt.sha256)
        with path.open("rb") as file:
            self.target.put_now(key, iter(lambda: file.read(_PIECE), b""))


async def mask(settings: TransmitSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments)
    options = sorted(_options(given.profile))
    key = decode_key(given.key_file.read_text().strip(), setting="--key-file")
    names = decode_key(given.names_key_file.read_text().strip(), setting="--names-key-file")
    text = given.rules.read_text() if given.rules else "[]"
    parse_rules(text)
    url = settings.postgres_url.get_secret_value()
    async with (
        open_database(url, service="transmit-mask", size=2) as database,
        open_converters(
            settings.scratch,
            processes=settings.conversion_processes,
            memory=settings.conversion_memory,
            module=MODULE,
        ) as converters,
    ):
        masking = Masking(
            ObjectPreparer(open_store(settings.store_url), converters),
            open_store(given.into),
            (options, key.hex(), text),
            KeyTemplate.parse(DEFAULT_TEMPLATE, pseudonym_key=names),
            given.dry_run,
        )
        behind = 0
        while True:
            async with database.acquire() as db:
                some = await every_stored(db, behind, _PAGE)
            if not some:
                break
            behind = some[-1].id
            await _all(masking, some)
            _say(event="progress", **masking.told)
    _say(event="summary", **{"masked": 0, "refused": 0, **masking.told})
    return 0


async def _all(masking: Masking, some: Sequence[StoredInstance]) -> None:
    left = iter(some)

    async def work() -> None:
        for stored in left:
            await masking.one(stored)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())


def _options(profile: str) -> frozenset[str]:
    try:
        options = parse_profile(profile)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    kept = options & {"retain-uids", "retain-full-dates", "allow-burned-in"}
    if kept:
        raise ConfigurationError(f"what is masked does not keep: {', '.join(sorted(kept))}")
    return options


def _say(**line: Any) -> None:
    say(orjson.dumps(line).decode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m darkroom_transmit mask")
    parser.add_argument("--into", required=True, metavar="URL", help="the store to fill")
    parser.add_argument("--key-file", required=True, type=Path, help="of the pseudonyms, base64")
    parser.add_argument("--names-key-file", required=True, type=Path, help="of keys in the store")
    parser.add_argument("--profile", default=PROFILE, help="of PS3.15 annex E")
    parser.add_argument("--rules", type=Path, help="JSON: where devices write into pictures")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    return parser
