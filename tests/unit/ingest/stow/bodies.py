"""Bodies of STOW taken without a connection: what becomes of them stands in a spool."""

from dataclasses import dataclass, field
from pathlib import Path

from darkroom_common.dimse.contexts import storage_sop_classes
from darkroom_common.objects.receipt import Receipt
from darkroom_common.objects.spool import Spool
from darkroom_common.stow.handover import Outcome
from darkroom_common.stow.multipart import PartLimits
from darkroom_ingest.receiving.receive import Receiver
from darkroom_ingest.stow.body import Body
from darkroom_ingest.stow.parts import Intake
from darkroom_ingest.stow.scratch import Memory
from tests.support.stow import TYPE

MEMORY = 4 << 20


@dataclass
class Taking:
    """A spool and what came into it."""

    root: Path
    receipts: list[Receipt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spool = Spool(self.root, quarantine_limit=16 << 20)
        self.memory = Memory(MEMORY)
        receiver = Receiver(self.spool, 0, 8 << 20, self.receipts.append)
        classes = frozenset(storage_sop_classes())
        self.intake = Intake(receiver, classes, "DICOMWEB", "DARKROOM", self.memory)

    def take(self, body: bytes, kind: str = TYPE, size: int = 4096, study: str = "") -> Outcome:
        """What becomes of a body that comes in pieces."""
        taken = Body(kind, self.intake.of_study(study), PartLimits(parts=200))
        try:
            for at in range(0, len(body), size):
                taken.feed(body[at : at + size])
            return taken.finish()
        finally:
            taken.abandon()
            self.memory.take(MEMORY)  # all of it was given back
            self.memory.give(MEMORY)
            assert list(self.spool.tmp.iterdir()) == []

    def kept(self, uid: str) -> tuple[str, bytes]:
        """Transfer syntax and data set of the instance that came last under a UID."""
        one = [one for one in self.receipts if one.identity.sop_instance_uid == uid][-1]
        whole = self.spool.path(one.id).read_bytes()
        again = self.spool.read_receipt(one.id)
        assert (again.sha256, again.source) == (one.sha256, "stow")
        return one.transfer_syntax_uid, whole[one.data_set_offset :]

    def forget(self) -> None:
        """Empty the spool."""
        for one in self.receipts:
            self.spool.remove(one.id)
        self.receipts.clear()
        for path in self.spool.quarantine.iterdir():
            if path.suffix == ".json":
                path.with_suffix("").unlink(missing_ok=True)
                path.unlink()
