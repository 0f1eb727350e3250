"""Makes what a destination takes: another transfer syntax, de-identified, or as it is stored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from darkroom_common.objects.store import ObjectMissing, ObjectStore, StoreUnavailable
from darkroom_common.specs.deidentification import parse_profile
from darkroom_transmit.conversion.converters import ConversionFailed, Converters
from darkroom_transmit.conversion.exchange import (
    NATIVE_TARGETS,
    Profile,
    Unconvertible,
    destination_key,
)
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.sources import (
    CannotPrepare,
    Item,
    PreparationUnavailable,
    Source,
    stored_source,
)


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
        if profile is None and (not wanted or item.transfer_syntax_uid in wanted):
            yield stored_source(item, path)
            return
        stored = item.transfer_syntax_uid
        if not wanted:
            wanted = (stored, *NATIVE_TARGETS)
        elif stored in wanted:  # nothing is compressed or decoded without need
            wanted = (stored, *wanted)
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
