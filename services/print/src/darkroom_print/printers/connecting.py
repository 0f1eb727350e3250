"""How a printer is called: its address, certificates, and what is asked of the association."""

from dataclasses import dataclass
from pathlib import Path

from darkroom_common.dimse.requestor import Peer, PeerFault
from darkroom_common.dimse.tls import BadCertificate, TlsTrust, client_context
from darkroom_print.printers.configuration import Printer
from darkroom_print.printers.profiles import Profile
from darkroom_print.printing.print_scu import Capabilities


@dataclass(frozen=True)
class Tls:
    """What all printers share of TLS: files of this host."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def peer_of(printer: Printer, tls: Tls) -> Peer:
    """Return whom to call.

    Raises:
        PeerFault: certificates cannot be used.
    """
    spec = printer.spec
    context = None
    if spec.tls.enabled:
        shown = spec.tls.client_certificate
        try:
            context = client_context(
                TlsTrust(
                    authorities=spec.tls.ca,
                    ca=tls.ca,
                    certificate=tls.certificate if shown else None,
                    key=tls.key if shown else None,
                    minimum=spec.tls.minimum,
                )
            )
        except BadCertificate as error:
            raise PeerFault("BadCertificate", str(error), transient=False) from error
    return Peer(
        host=spec.host,
        port=spec.port,
        called_ae_title=spec.ae_title,
        calling_ae_title=spec.calling_ae_title,
        connect_seconds=spec.connect_seconds,
        answer_seconds=spec.answer_seconds,
        tls=context,
        server_name=spec.tls.server_name,
    )


def asked_of(printer: Profile, *, colour: bool, annotated: bool) -> Capabilities:
    """Return what an association with a printer offers."""
    return Capabilities(
        colour=colour,
        meta_only="meta-only" in printer.quirks,
        presentation_lut=printer.presentation_lut and "no-presentation-lut" not in printer.quirks,
        annotation=annotated,
    )
