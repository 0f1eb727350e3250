"""Makes what a peer takes of stored objects: another transfer syntax, or as they are stored."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from darkroom_common.errors import PermanentError, TransientError
from darkroom_common.objects.store import ObjectMissing, ObjectStore, StoreUnavailable
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.transcoding.converted import NATIVE_TARGETS
from darkroom_common.transcoding.converters import ConversionFailed, Converters
from darkroom_common.validation.made_here import CLASSES, LOOKED_AT, is_made_here

log = get_logger(__name__)
_NOT_PADDED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})
"""Deflated ones have a NUL after their end (PS3.5 section A.5); big endian is not written."""
NOT_VALID: Final = "NotValid"
"""Why an object that was made here does not leave."""


class CannotPrepare(PermanentError):
    """An instance cannot be made into what the peer takes. `reason` is a word for jobs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PreparationUnavailable(TransientError):
    """Preparing failed for a reason that may pass."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StoredObject(Protocol):
    """An instance, and where its bytes are: `size` of them behind `data_set_offset`."""

    @property
    def sop_instance_uid(self) -> str:
        """Of the instance."""
        ...

    @property
    def sop_class_uid(self) -> str:
        """Of the instance."""
        ...

    @property
    def transfer_syntax_uid(self) -> str:
        """In which it is stored."""
        ...

    @property
    def object_key(self) -> str:
        """Of its object."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the data set."""
        ...

    @property
    def data_set_offset(self) -> int:
        """Bytes before it."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set in a file, ready to be sent.

    Attributes:
        offset: where the data set begins.
        size: its bytes.
        left_out: tags of elements that could not be said in it.
    """

    path: str | Path
    offset: int
    size: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    left_out: tuple[str, ...] = ()


class ObjectPreparer:
    """Hands out stored objects, or files that were made from them and go when they are sent.

    What was made here is held against the standard once more, as it would leave; what others have
    made is not judged.
    """

    def __init__(self, store: ObjectStore, converters: Converters) -> None:
        self._store = store
        self._converters = converters

    def at_once(
        self, stored: StoredObject, wanted: tuple[str, ...], change: Sequence[Any] | None = None
    ) -> Prepared | None:
        """Return what is ready as it is stored and needs no holding; of the others nothing.

        `prepare`, which costs several times as much, has to be asked when this returns nothing.
        """
        syntax = stored.transfer_syntax_uid
        if change is not None or (wanted and syntax not in wanted):
            return None
        if stored.sop_class_uid in CLASSES:  # it may have been made here
            return None
        if stored.size % 2 and syntax not in _NOT_PADDED:
            return None
        path = self._store.own_file(stored.object_key)
        return None if path is None else _unchanged(stored, path)

    @asynccontextmanager
    async def prepare(
        self, stored: StoredObject, wanted: tuple[str, ...], change: Sequence[Any] | None = None
    ) -> AsyncIterator[Prepared]:
        """Hold a data set ready for the length of a block.

        Args:
            stored: the instance.
            wanted: transfer syntaxes of which it must have one, the best first; none: as stored.
            change: see `Converters.convert`.

        Raises:
            CannotPrepare: nothing that is there can do this.
            PreparationUnavailable: it may work later.
        """
        syntax = stored.transfer_syntax_uid
        async with AsyncExitStack() as held:
            try:
                path = await held.enter_async_context(self._store.local_file(stored.object_key))
            except ObjectMissing as error:
                raise CannotPrepare("ObjectMissing") from error
            except StoreUnavailable as error:
                raise PreparationUnavailable("StoreUnavailable") from error
            made_here = stored.sop_class_uid in CLASSES and await _is_made_here(stored, path)
            if change is None and (not wanted or syntax in wanted):
                ready = await held.enter_async_context(self._as_stored(stored, path))
            else:
                if not wanted:
                    wanted = (syntax, *NATIVE_TARGETS)
                elif syntax in wanted:  # nothing is compressed or decoded without need
                    wanted = (syntax, *wanted)
                ready = await held.enter_async_context(self._converted(path, wanted, change))
            if made_here:
                await self._require_valid(ready)
            yield ready

    async def _require_valid(self, ready: Prepared) -> None:
        """Hold back what is ready unless it is valid.

        Raises:
            CannotPrepare, PreparationUnavailable: see `prepare`.
        """
        try:
            faults = await self._converters.faults(Path(ready.path))
        except Unconvertible as error:
            raise CannotPrepare(NOT_VALID) from error
        except ConversionFailed as error:
            raise PreparationUnavailable("ValidationFailed") from error
        if faults:
            uid = ready.sop_instance_uid
            log.error("instance.not_valid", sop_instance_uid=uid, faults=faults)
            raise CannotPrepare(NOT_VALID)

    @asynccontextmanager
    async def _as_stored(self, stored: StoredObject, path: Path) -> AsyncIterator[Prepared]:
        """Yield an instance bit for bit; one of odd length with its values padded, if it can be."""
        syntax = stored.transfer_syntax_uid
        async with AsyncExitStack() as held:
            prepared = _unchanged(stored, path)
            if stored.size % 2 and syntax not in _NOT_PADDED:
                try:
                    padded = self._converted(path, (syntax,), None)
                    prepared = await held.enter_async_context(padded)
                except (CannotPrepare, PreparationUnavailable) as error:
                    # It goes as it is: with a NUL after its end, which most take.
                    log.warning(
                        "instance.not_padded",
                        sop_instance_uid=stored.sop_instance_uid,
                        reason=error.reason,
                    )
            yield prepared

    def convert(
        self, path: Path, wanted: tuple[str, ...], change: Sequence[Any] | None
    ) -> AbstractAsyncContextManager[Prepared]:
        """Hold what is made of a file ready for the length of a block; see `prepare`."""
        return self._converted(path, wanted, change)

    @asynccontextmanager
    async def _converted(
        self, path: Path, wanted: tuple[str, ...], change: Sequence[Any] | None
    ) -> AsyncIterator[Prepared]:
        try:
            made = await self._converters.convert(path, wanted, change)
        except Unconvertible as error:
            raise CannotPrepare(str(error)) from error
        except ConversionFailed as error:
            if not await asyncio.to_thread(path.exists):
                raise CannotPrepare("ObjectMissing") from error
            raise PreparationUnavailable("ConversionFailed") from error
        try:
            yield Prepared(
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


async def _is_made_here(stored: StoredObject, path: Path) -> bool:
    """Tell whether an object says that it was made here.

    Raises:
        CannotPrepare, PreparationUnavailable: its file is not there, or cannot be read.
    """

    def read() -> bytes:
        with path.open("rb") as file:
            file.seek(stored.data_set_offset)
            return file.read(LOOKED_AT)

    try:
        return is_made_here(await asyncio.to_thread(read))
    except FileNotFoundError as error:
        raise CannotPrepare("ObjectMissing") from error
    except OSError as error:
        raise PreparationUnavailable("StoreUnavailable") from error


def _unchanged(stored: StoredObject, path: str | Path) -> Prepared:
    return Prepared(
        path,
        stored.data_set_offset,
        stored.size,
        stored.sop_class_uid,
        stored.sop_instance_uid,
        stored.transfer_syntax_uid,
    )
