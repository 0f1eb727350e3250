"""How a printer is called: its address, certificates, and what is asked of the association."""

from darkroom_common.dimse.requestor import Peer, tls_context
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.films.profiles import Profile
from darkroom_print.printers.configuration import Printer
from darkroom_print.printing.print_scu import Capabilities


def peer_of(printer: Printer, tls: TlsClient) -> Peer:
    """Return whom to call.

    Raises:
        PeerFault: certificates cannot be used.
    """
    spec = printer.spec
    return Peer(
        host=spec.host,
        port=spec.port,
        called_ae_title=spec.ae_title,
        calling_ae_title=spec.calling_ae_title,
        connect_seconds=spec.connect_seconds,
        answer_seconds=spec.answer_seconds,
        tls=tls_context(tls, spec.tls) if spec.tls.enabled else None,
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
