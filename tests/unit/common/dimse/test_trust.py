"""Authorities that do not follow RFC 5280 in all points: the same under Python 3.11 and 3.13."""

import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from darkroom_api.atna import forwarding
from darkroom_api.callbacks import calling
from darkroom_api.mail.delivery import MailServer
from darkroom_common.dimse.tls import TlsClient, TlsFiles, TlsServer
from darkroom_common.links.inner import InnerTls
from darkroom_common.links.trust import CALLING, is_strictness, refusal, refused_as
from darkroom_common.specs.destinations import Tls
from darkroom_common.telemetry.metrics import common as metrics
from darkroom_licensing.odoo import wire
from tests.support.certificates import Authority, Pair

DAY = timedelta(days=1)
CALLERS: dict[str, Callable[..., ssl.SSLContext]] = {
    "destinations and printers": lambda ca, strict: TlsClient(ca).context(
        Tls(enabled=True, strict=strict)
    ),
    "authorities of a destination": lambda ca, strict: TlsClient().context(
        Tls(enabled=True, ca=ca.read_text(), strict=strict)
    ),
    "callbacks": lambda ca, strict: calling.tls_context(ca, strict=strict),
    "audit repository": lambda ca, strict: forwarding.tls_context(ca, None, None, strict=strict),
    "mail": lambda ca, strict: MailServer(
        "localhost", 25, "tls", ca, "", None, "a@b.example", strict
    ).context(),
    "Odoo": lambda ca, strict: wire.tls(ca, strict=strict),
}


def of_server(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def shake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Do a handshake in memory: raises what either side has against the other."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(back, there, server_hostname="localhost"),
        server.wrap_bio(there, back, server_side=True),
    ]
    for side in sides * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


@pytest.mark.parametrize("caller", CALLERS)
def test_an_authority_without_key_usage_is_taken_when_a_setting_says_so(
    tmp_path: Path, caller: str
) -> None:
    make = CALLERS[caller]
    hospital = Authority(tmp_path, strict=False)
    server = of_server(hospital.sign("peer"))
    shake(make(hospital.file, strict=False), server)
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        shake(make(hospital.file, strict=True), server)
    assert is_strictness(caught.value)
    assert refused_as(caught.value) == "CertificateNotStrict"
    told = refusal(caught.value, "tls.strict")
    assert "key usage" in told
    assert "RFC 5280" in told
    assert "tls.strict=false takes it" in told


@pytest.mark.parametrize("caller", CALLERS)
def test_lenience_is_about_nothing_else(tmp_path: Path, caller: str) -> None:
    for name in ("ours", "other"):
        (tmp_path / name).mkdir()
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    server = of_server(other.sign("peer"))
    for strict in (True, False):
        shake(CALLERS[caller](other.file, strict=strict), server)
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            shake(CALLERS[caller](ours.file, strict=strict), server)
        assert not is_strictness(caught.value)
        assert refused_as(caught.value) == "CertificateRefused"
        assert "false" not in refusal(caught.value, "tls.strict")


def test_a_listener_asks_it_of_those_who_call(tmp_path: Path) -> None:
    (tmp_path / "hospital").mkdir()
    ours, hospital = Authority(tmp_path), Authority(tmp_path / "hospital", strict=False)
    pair = ours.sign("server")
    client = ours.client(hospital.sign("scanner"))
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # the client's part ends with the server's

    def listener(*, strict: bool) -> ssl.SSLContext:
        files = TlsFiles(pair.certificate, pair.key, hospital.file, "required", "1.2", strict)
        return TlsServer(files).lasting_context()

    shake(client, listener(strict=False))
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        shake(client, listener(strict=True))
    assert is_strictness(caught.value)


def test_what_installations_sign_for_themselves_is_taken_as_it_is(tmp_path: Path) -> None:
    own = Authority(tmp_path, strict=False)
    pair = own.sign("service")
    shake(InnerTls(pair.certificate, pair.key, own.file).client().context(), of_server(pair))


@pytest.mark.req("DEP-08")
@pytest.mark.parametrize("caller", ["callbacks", "audit repository", "mail", "Odoo"])
def test_a_renewed_authority_is_taken_without_a_restart(tmp_path: Path, caller: str) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = Authority(tmp_path / "first"), Authority(tmp_path / "second")
    file = tmp_path / "trusted.pem"
    file.write_text(first.file.read_text())
    client = CALLERS[caller](file, strict=True)
    renewed = of_server(second.sign("peer"))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client, renewed)
    file.write_text("no certificate")
    shake(client, of_server(first.sign("peer")))
    file.write_text(second.file.read_text())
    shake(client, renewed)


@pytest.mark.req("DEP-08")
def test_a_renewed_pair_is_shown_to_the_audit_repository(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, server = authority.sign("ours", -DAY), of_server(authority.sign("repository"))
    server.load_verify_locations(authority.file)
    server.verify_mode = ssl.CERT_REQUIRED
    server.maximum_version = ssl.TLSVersion.TLSv1_2  # a client's part ends with the server's
    client = forwarding.tls_context(authority.file, ours.certificate, ours.key)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client, server)
    ours.replace(authority.sign("renewed", 9 * DAY))
    shake(client, server)
    expires = metrics.CERTIFICATE_EXPIRES.labels(CALLING)._value.get()
    assert abs(expires - time.time() - 9 * DAY.total_seconds()) < 600
