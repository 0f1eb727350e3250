"""Our certificate as a client is renewed without a restart: for all that we ask of other nodes."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import load_pem_x509_certificates
from prometheus_client import REGISTRY
from pydicom.dataset import Dataset

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.dimse.tls import CLIENT, TlsClient
from darkroom_common.specs.destinations import DestinationSpec, Tls
from darkroom_common.specs.printers import PrinterSpec
from darkroom_local.engines.ports import LOOPBACK
from darkroom_print.composing.bitmap import Bitmap
from darkroom_print.printers.configuration import Printer
from darkroom_print.printers.connecting import peer_of
from darkroom_print.printing.print_scu import Capabilities, FilmSheet, PrintAssociation
from darkroom_transmit.commitment.dimse import Report, ask
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.pool import AssociationPool
from darkroom_transmit.sending.sender import DimseSender, Orders
from darkroom_transmit.sending.sources import Item, Source
from darkroom_transmit.sending.throttle import Throttle
from tests.integration.print.printers import scripted
from tests.integration.transmit.keeper import Keeper, keeping
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.certificates import Authority, Pair

EXPLICIT = "1.2.840.10008.1.2.1"
ON = Tls(enabled=True, server_name="localhost")


def refusals() -> float:
    labels = {"listener": CLIENT}
    return REGISTRY.get_sample_value("darkroom_certificate_refused_total", labels) or 0


@dataclass
class Site:
    """A destination and a printer that take nobody without a certificate of their authority."""

    authority: Authority
    keeper: Keeper
    printer_port: int

    def destination(self) -> Destination:
        spec = DestinationSpec(
            ae_title="PACS", host=LOOPBACK, port=self.keeper.port, tls=ON, answer_seconds=10
        )
        return Destination("PACS", spec)


@contextmanager
def a_site(directory: Path, name: str) -> Iterator[Site]:
    (directory / name).mkdir()
    authority = Authority(directory / name)
    pair = authority.sign("peer")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    with keeping(Keeper(), context) as keeper, scripted(tls=context) as printer:
        yield Site(authority, keeper, printer.port)


def send(sender: DimseSender, site: Site, directory: Path) -> None:
    data_set = a_data_set()
    data = encode(data_set)
    path = directory / new_uid()
    path.write_bytes(data)
    uid = str(data_set.SOPInstanceUID)
    item = Item(uid, CT, EXPLICIT, path.name, len(data), 0)
    source = Source(item, path, 0, len(data), CT, uid, EXPLICIT)
    told: list[Outcome] = []
    with ThreadPoolExecutor() as threads:
        orders = Orders(
            lambda _, outcome: told.append(outcome), threading.Event(), Throttle(None), threads
        )
        asyncio.run(sender.send(site.destination(), [source], orders))
    assert [one.verdict for one in told] == [Verdict.SENT]


def echo(sender: DimseSender, site: Site, _: Path) -> None:
    with ThreadPoolExecutor() as threads:
        asyncio.run(sender.echo(site.destination(), threads))


def commit(sender: DimseSender, site: Site, _: Path) -> None:
    reports: list[Report] = []

    def settle(report: Report) -> bool:
        reports.append(report)
        return True

    uid, transaction = new_uid(), new_uid()
    peer = sender.peer(site.destination())
    ask(peer, transaction, [(CT, uid)], wait_seconds=10, settle=settle)
    assert [(one.transaction_uid, one.committed) for one in reports] == [
        (transaction, frozenset({uid}))
    ]


def print_film(sender: DimseSender, site: Site, _: Path) -> None:
    spec = PrinterSpec(host=LOOPBACK, port=site.printer_port, ae_title="FILM", tls=ON)
    box = Dataset()
    box.ImageDisplayFormat = "STANDARD\\1,1"
    association = PrintAssociation(peer_of(Printer("FILM", spec), sender.tls), Capabilities())
    association.begin(Dataset())
    film = association.prepare(FilmSheet(box, [Bitmap(1, np.zeros((8, 8), np.uint8), 8)]))
    association.act(film)
    association.release()


@pytest.mark.req("DEP-08", "TRX-15")
@pytest.mark.parametrize("operation", [send, echo, commit, print_film])
def test_renewed_files_are_taken_and_broken_ones_are_not(
    tmp_path: Path, operation: Callable[[DimseSender, Site, Path], None]
) -> None:
    with a_site(tmp_path, "before") as before, a_site(tmp_path, "after") as after:
        ours, renewed = before.authority.sign("darkroom"), after.authority.sign("darkroom")
        authorities = tmp_path / "ca.pem"
        authorities.write_bytes(before.authority.file.read_bytes())
        tls = TlsClient(authorities, ours.certificate, ours.key)
        sender = DimseSender(AssociationPool(), tls)
        operation(sender, before, tmp_path)
        with pytest.raises(PeerFault):
            operation(sender, after, tmp_path)

        counted = refusals()
        ours.key.write_text("no key")
        operation(sender, before, tmp_path)
        operation(sender, before, tmp_path)
        assert refusals() == counted + 1

        authorities.write_bytes(after.authority.file.read_bytes())
        ours.replace(renewed)
        operation(sender, after, tmp_path)
        with pytest.raises(PeerFault):
            operation(sender, before, tmp_path)
        sender.pool.sweep(everything=True)


def as_pfx(pair: Pair, path: Path, password: bytes) -> None:
    key = load_pem_private_key(pair.key.read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    certificate, *others = load_pem_x509_certificates(pair.certificate.read_bytes())
    sealed = BestAvailableEncryption(password)
    path.write_bytes(serialize_key_and_certificates(b"darkroom", key, certificate, others, sealed))


@pytest.mark.req("TRX-15")
def test_a_certificate_may_be_a_pfx_file_and_is_renewed_as_any_other(tmp_path: Path) -> None:
    with a_site(tmp_path, "before") as before, a_site(tmp_path, "after") as after:
        file, authorities = tmp_path / "ours.pfx", tmp_path / "ca.pem"
        as_pfx(before.authority.sign("darkroom"), file, b"a password")
        authorities.write_bytes(before.authority.file.read_bytes())
        wrong = DimseSender(AssociationPool(), TlsClient(authorities, file, None, "another"))
        with pytest.raises(PeerFault, match="no PKCS #12 file, or another password"):
            echo(wrong, before, tmp_path)
        sender = DimseSender(AssociationPool(), TlsClient(authorities, file, None, "a password"))
        echo(sender, before, tmp_path)
        file.write_bytes(b"half of it")
        echo(sender, before, tmp_path)
        authorities.write_bytes(after.authority.file.read_bytes())
        as_pfx(after.authority.sign("darkroom"), file, b"a password")
        echo(sender, after, tmp_path)
