"""Makes what a destination takes: another transfer syntax, de-identified, or as it is stored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from darkroom_common.objects.store import ObjectMissing, ObjectStore, StoreUnavailable
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.specs.deidentification import parse_profile
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.transcoding.converted import NATIVE_TARGETS
from darkroom_transmit.conversion.converters import ConversionFailed, Converters
from darkroom_transmit.conversion.exchange import Profile, destination_key
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.sources import (
    CannotPrepare,
    Item,
    PreparationUnavailable,
    Source,
    stored_source,
)

log = get_logger(__name__)
_NOT_PADDED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})
"""Deflated ones have a NUL after their end (PS3.5 section A.5); big endian is not written."""


class ConvertingPreparer:
    """Hands out stored objects, or files that were made from them and go when they are sent."""

    def __init__(self, store: ObjectStore, converters: Converters, secret: bytes) -> None:
        self._store = store
        self._converters = converters
        self._secret = secret

    @asynccontextmanager
    async def prepare(
        self, item: Item, destination: Destination, wanted: tuple[str, ...]
    ) -> AsyncIterator[Source]:
        """See `Preparer.prepare`."""
        async with AsyncExitStack() as held:
            try:
                path = await held.enter_async_context(self._store.local_file(item.object_key))
            except ObjectMissing as error:
                raise CannotPrepare("ObjectMissing") from error
            except StoreUnavailable as error:
                raise PreparationUnavailable("StoreUnavailable") from error
            prepared = self._prepared(item, path, destination, wanted)
            yield await held.enter_async_context(prepared)

    @asynccontextmanager
    async def _prepared(
        self, item: Item, path: Path, destination: Destination, wanted: tuple[str, ...]
    ) -> AsyncIterator[Source]:
        profile = self._profile(destination)
        stored = item.transfer_syntax_uid
        if profile is None and (not wanted or stored in wanted):
            async with self._as_stored(item, path) as source:
                yield source
            return
        if not wanted:
            wanted = (stored, *NATIVE_TARGETS)
        elif stored in wanted:  # nothing is compressed or decoded without need
            wanted = (stored, *wanted)
        async with self._converted(item, path, wanted, profile) as source:
            yield source

    @asynccontextmanager
    async def _as_stored(self, item: Item, path: Path) -> AsyncIterator[Source]:
        """Yield an instance bit for bit; one of odd length with its values padded, if it can be."""
        stored = item.transfer_syntax_uid
        async with AsyncExitStack() as held:
            source = stored_source(item, path)
            if item.size % 2 and stored not in _NOT_PADDED:
                try:
                    padded = self._converted(item, path, (stored,), None)
                    source = await held.enter_async_context(padded)
                except (CannotPrepare, PreparationUnavailable) as error:
                    # It goes as it is: with a NUL after its end, which most take.
                    log.warning(
                        "instance.not_padded",
                        sop_instance_uid=item.sop_instance_uid,
                        reason=error.reason,
                    )
            yield source

    @asynccontextmanager
    async def _converted(
        self, item: Item, path: Path, wanted: tuple[str, ...], profile: Profile | None
    ) -> AsyncIterator[Source]:
        try:
            made = await self._converters.convert(path, wanted, profile)
        except Unconvertible as error:
            raise CannotPrepare(str(error)) from error
        except ConversionFailed as error:
            raise PreparationUnavailable("ConversionFailed") from error
        try:
            yield Source(
                item,
                made.path,
                made.offset,
                made.size - made.offset,
                made.sop_class_uid,
                made.sop_instance_uid,
                made.transfer_syntax_uid,
                made.left_out,
            )
        finally:
            await asyncio.to_thread(made.path.unlink, missing_ok=True)

    def _profile(self, destination: Destination) -> Profile | None:
        text = destination.spec.deidentify
        if not text:
            return None
        key = destination_key(self._secret, destination.name)
        return Profile(options=tuple(sorted(parse_profile(text))), key=key.hex())
