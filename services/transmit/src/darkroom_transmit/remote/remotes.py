"""Questions to other nodes: in threads, a few at a time for each, and never for long."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from darkroom_common.clock import monotonic
from darkroom_common.dimse.requestor import Peer, PeerFault
from darkroom_common.dimse.users.find import Refused
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.base import Reply
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import transmit as metrics
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.sender import DimseSender

log = get_logger(__name__)
T = TypeVar("T")
AT_ONCE: Final = 4
"""Questions to one node at a time."""
CONNECT_SECONDS: Final = 10.0
NEGOTIATE_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 45.0
"""For all answers to one question; with the two above it is less than the api waits."""
_TIMEOUTS: Final = frozenset({"ConnectTimeout", "AnswerTimeout", "SendTimeout"})
_WORDS: Final = {
    "ConnectionRefused": "nobody listens there",
    "ConnectTimeout": "the host does not answer",
    "HostUnknown": "the name of the host is not known",
    "HostUnreachable": "the host cannot be reached",
    "ConnectionLost": "it has closed the connection",
    "AnswerTimeout": "it does not answer in time",
    "SendTimeout": "it does not read what it is sent",
    "Aborted": "it has aborted the association",
    "Released": "it has released the association before it had answered",
    "RejectedTransient": "it rejects the association for now",
    "RejectedPermanent": "it rejects the association: it may not know our AE title",
    "SopClassNotAccepted": "it does not serve this",
    "MalformedIdentifier": "it has answered with a data set that cannot be read",
    "ProtocolError": "it has answered what DICOM does not allow",
    "CertificateRefused": "its certificate is not good here",
    "CertificateNotStrict": "its certificate or authority does not follow RFC 5280 in all points"
    " (key usage, for example); tls.strict = false takes it",
    "TlsFailed": "the TLS handshake has failed",
    "BadCertificate": "our certificates cannot be used",
    "Misconfigured": "it is not a DIMSE destination",
}


class Busy(DependencyUnavailable):
    """As many questions as are allowed wait for this node."""


def reply_to(fault: PeerFault) -> Reply:
    """Return what a fault of another node is told as; it holds no value that the node has sent."""
    if fault.reason == "Misconfigured":
        return Reply(outcome="invalid", reason=_WORDS[fault.reason])
    body: dict[str, object] = {"fault": fault.reason}
    if isinstance(fault, Refused):
        body["status"] = f"{fault.status:04X}"
        if fault.attributes:
            body["attributes"] = [f"{tag:08X}" for tag in fault.attributes]
    words = fault.detail if isinstance(fault, Refused) else _WORDS.get(fault.reason, fault.reason)
    outcome = "peer-timeout" if fault.reason in _TIMEOUTS else "peer-failed"
    return Reply.model_validate({"outcome": outcome, "reason": words, "body": body})


@dataclass
class Remotes:
    """The destinations as nodes that can be asked."""

    configuration: Configuration
    sender: DimseSender
    threads: Executor
    _waiting: Counter[str] = field(default_factory=Counter)

    async def named(self, name: str) -> Destination:
        """Return a destination; see `Configuration.named`."""
        return await self.configuration.named(name)

    def peer(self, destination: Destination) -> Peer:
        """Return whom to call, with the patience of the destination.

        Raises:
            PeerFault: it is no DIMSE destination, or certificates cannot be used.
        """
        return self.sender.peer(destination)

    async def ask(self, destination: Destination, operation: str, work: Callable[[Peer], T]) -> T:
        """Do work that blocks with a node whose patience is bounded.

        Raises:
            PeerFault: what the node did wrong.
            Busy: too many ask it already.
        """
        name = destination.name
        peer = self.sender.peer(destination)
        peer = dataclasses.replace(
            peer,
            connect_seconds=min(peer.connect_seconds, CONNECT_SECONDS),
            answer_seconds=min(peer.answer_seconds, NEGOTIATE_SECONDS),
        )
        if self._waiting[name] >= AT_ONCE:
            raise Busy("as many questions as are allowed wait for this destination")
        self._waiting[name] += 1
        began = monotonic()
        outcome = "failed"
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self.threads, work, peer)
            outcome = "done"
        except PeerFault as fault:
            log.warning("remote.failed", destination=name, operation=operation, reason=fault.reason)
            raise
        finally:
            self._waiting[name] -= 1
            metrics.REMOTE_REQUESTS.labels(name, operation, outcome).inc()
            metrics.REMOTE_SECONDS.labels(name, operation).observe(monotonic() - began)
        return found
