"""An archive of files: each goes to ingest by a C-STORE, as if a modality had sent it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from darkroom_common.dicom.walk import Unreadable
from darkroom_transmit.migration.files import open_below, read_head
from darkroom_transmit.migration.source import Asked, Listed, Receipt, Tell, Wanted
from darkroom_transmit.migration.taking import PIECE, Taker
from darkroom_transmit.retrieval.dimse import Handle


@dataclass(frozen=True)
class FileSource:
    """See `Source`. What there is was listed before: it is asked for nothing."""

    top: Path
    taker: Callable[[Handle], Taker]
    by_us: bool = True

    def contents(self, study: str) -> list[Listed]:
        """See `Source`: the rows of its objects are there."""
        del study
        return []

    def fetch(self, asked: Asked, tell: Tell, handle: Handle) -> None:
        """See `Source`."""
        taker = self.taker(handle)
        try:
            for one in asked.wanted:
                if handle.stop.is_set():
                    break
                self._file(one, tell, taker)
            taker.check()
        finally:
            taker.close()

    def _file(self, one: Wanted, tell: Tell, taker: Taker) -> None:
        def told(_: str, digest: bytes, size: int, status: int) -> None:
            tell(Receipt(one.id, digest, size, status))

        taker.told = told
        try:
            with open_below(self.top, one.location) as file:
                meta, offset = read_head(file)
                file.seek(offset)
                sop_class = one.sop_class_uid or meta.sop_class_uid
                taker.object(sop_class, one.sop_instance_uid, meta.transfer_syntax_uid)
                while piece := file.read(PIECE):
                    taker.write([memoryview(piece)])
                taker.end()
        except Unreadable as error:
            tell(Receipt(one.id, None, 0, 0, f"NotReadable: {error.code}"))
        except OSError as error:
            taker.abandon()
            tell(Receipt(one.id, None, 0, 0, f"NotReadable: {error.strerror}"))
