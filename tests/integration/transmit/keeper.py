"""A destination that keeps what it gets and says so: storage commitment SCP by pynetdicom."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from ssl import SSLContext
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.events import Event

from darkroom_local.engines.ports import LOOPBACK
from tests.support.builders import CT
from tests.support.waiting import dawdle

PUSH_MODEL = "1.2.840.10008.1.20.1"
SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]


@dataclass
class Keeper:
    """What the destination has got and how it reports.

    Attributes:
        arrived: SOP instance UID and SHA-256 of each data set, as they came.
        asked: SOP instance UIDs of each N-ACTION; `transactions` are their transaction UIDs.
        told: each report with its event type, PS3.4 table J.3-3.
        answers: status of the responses to its N-EVENT-REPORTs; None where none came.
    """

    loses: int = 0
    report: str = "same"  # same, new, never
    report_port: int = 0
    report_as: tuple[str, str] = ("PACS", LOOPBACK)  # AE title, address
    arrived: list[tuple[str, str]] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    transactions: list[str] = field(default_factory=list)
    told: list[tuple[Dataset, int]] = field(default_factory=list)
    answers: list[int | None] = field(default_factory=list)
    port: int = 0

    @property
    def stored(self) -> list[str]:
        return [uid for uid, _ in self.arrived]

    def on_store(self, event: Event) -> int:
        request: Any = event.request
        digest = sha256(request.DataSet.getvalue()).hexdigest()
        self.arrived.append((str(request.AffectedSOPInstanceUID), digest))
        return 0

    def on_action(self, event: Event) -> tuple[int, None]:
        information = event.action_information
        items = list(information.ReferencedSOPSequence)
        self.asked.append([str(item.ReferencedSOPInstanceUID) for item in items])
        self.transactions.append(str(information.TransactionUID))
        if self.report != "never":
            threading.Thread(
                target=self._tell, args=(event.assoc, information), daemon=True
            ).start()
        return 0, None

    def _tell(self, association: Any, information: Dataset) -> None:
        dawdle(0.1)
        items = list(information.ReferencedSOPSequence)
        lost, self.loses = items[: self.loses], 0
        told = Dataset()
        told.TransactionUID = information.TransactionUID
        told.ReferencedSOPSequence = items[len(lost) :]
        if lost:
            for item in lost:
                item.FailureReason = 0x0110
            told.FailedSOPSequence = lost
        kind = 2 if lost else 1
        self.told.append((told, kind))
        if self.report == "same":
            self._report(association, told, kind)
        else:
            self.call(told, kind)

    def call(self, told: Dataset, kind: int) -> None:
        """Report on an association of its own."""
        title, address = self.report_as
        caller = AE(title)
        caller.add_requested_context(PUSH_MODEL, SYNTAXES)
        role = build_role(PUSH_MODEL, scp_role=True)
        opened = caller.associate(
            LOOPBACK,
            self.report_port,
            ae_title="DARKROOM",
            ext_neg=[role],
            bind_address=(address, 0),
        )
        if not opened.is_established:
            self.answers.append(None)
            return
        self._report(opened, told, kind)
        opened.release()

    def _report(self, association: Any, told: Dataset, kind: int) -> None:
        try:
            status, _ = association.send_n_event_report(told, kind, PUSH_MODEL, f"{PUSH_MODEL}.1")
        except RuntimeError:  # who has asked is gone
            self.answers.append(None)
        else:
            self.answers.append(status.get("Status"))


@contextmanager
def keeping(keeper: Keeper, tls: SSLContext | None = None) -> Iterator[Keeper]:
    """Run a keeper."""
    ae = AE("PACS")
    ae.add_supported_context(CT, SYNTAXES)
    ae.add_supported_context("1.2.840.10008.1.1")
    ae.add_supported_context(PUSH_MODEL, SYNTAXES)
    handlers: Any = [(evt.EVT_C_STORE, keeper.on_store), (evt.EVT_N_ACTION, keeper.on_action)]
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers, ssl_context=tls)
    assert server is not None
    keeper.port = server.server_address[1]
    try:
        yield keeper
    finally:
        server.shutdown()


def commitment(**changes: Any) -> dict[str, Any]:
    """Return what a destination is told to be asked for commitment."""
    return {"commitment": {"enabled": True, "timeout_seconds": 30, **changes}}
