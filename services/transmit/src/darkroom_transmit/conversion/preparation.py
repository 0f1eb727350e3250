"""Makes what a destination takes: another transfer syntax, de-identified, or as it is stored."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from darkroom_common.specs.deidentification import parse_profile
from darkroom_common.transcoding.preparing import ObjectPreparer, Prepared
from darkroom_transmit.conversion.exchange import Profile, destination_key
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.sources import Item, Source


class ConvertingPreparer:
    """Hands out stored objects, or files that were made from them and go when they are sent."""

    def __init__(self, objects: ObjectPreparer, secret: bytes) -> None:
        self._objects = objects
        self._secret = secret

    def at_once(
        self, item: Item, destination: Destination, wanted: tuple[str, ...]
    ) -> Source | None:
        """See `Preparer.at_once`."""
        if destination.spec.deidentify:
            return None
        ready = self._objects.at_once(item, wanted)
        return None if ready is None else _source(item, ready)

    @asynccontextmanager
    async def prepare(
        self, item: Item, destination: Destination, wanted: tuple[str, ...]
    ) -> AsyncIterator[Source]:
        """See `Preparer.prepare`."""
        profile = self._profile(destination)
        async with self._objects.prepare(item, wanted, profile) as ready:
            yield _source(item, ready)

    def _profile(self, destination: Destination) -> Profile | None:
        text = destination.spec.deidentify
        if not text:
            return None
        key = destination_key(self._secret, destination.name)
        return Profile(options=tuple(sorted(parse_profile(text))), key=key.hex())


def _source(item: Item, ready: Prepared) -> Source:
    return Source(
        item,
        ready.path,
        ready.offset,
        ready.size,
        ready.sop_class_uid,
        ready.sop_instance_uid,
        ready.transfer_syntax_uid,
        ready.left_out,
    )
