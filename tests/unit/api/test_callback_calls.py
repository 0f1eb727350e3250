"""Calls to receivers by TLS: only to the name that the certificate is of."""

import asyncio
import ssl
from ipaddress import ip_network
from pathlib import Path

import pytest

from darkroom_api.callbacks.addresses import Allowed
from darkroom_api.callbacks.calling import Answer, Caller, tls_context
from darkroom_common.errors import ConfigurationError
from tests.support.callback_receiver import a_receiver
from tests.support.certificates import Authority

LOOPBACK_ONLY = Allowed((ip_network("127.0.0.0/8"), ip_network("::1/128")))


async def called(directory: Path, host: str, ca: Path | None) -> Answer:
    pair = Authority(directory).sign("receiver")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    async with a_receiver(context) as receiver:
        url = f"https://{host}:{receiver.port}/"
        answer = await Caller(LOOPBACK_ONLY, plain=False, context=tls_context(ca)).call(
            url, {"webhook-id": "1"}, b"{}", limit=10
        )
        assert len(receiver.came) == (answer.status is not None)
    return answer


async def test_a_certificate_is_of_the_name_and_of_an_authority_that_is_known(
    tmp_path: Path,
) -> None:
    ours = tmp_path / "ca.pem"
    assert (await called(tmp_path, "localhost", ours)).status == 204
    for host, ca in (("127.0.0.1", ours), ("localhost", None)):
        answer = await called(tmp_path, host, ca)
        assert not answer.taken
        assert answer.reason.startswith("Its certificate is not one of this name, or of no")


async def test_who_speaks_no_tls_is_sent_nothing() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.clinic.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        caller = Caller(LOOPBACK_ONLY, plain=False, context=tls_context(None))
        answer = await caller.call(f"https://localhost:{port}/", {}, b"{}", limit=10)
    assert (answer.status, answer.reason) == (None, "It does not speak TLS as we do.")


async def test_http_is_refused_unless_a_setting_allows_it(tmp_path: Path) -> None:
    Authority(tmp_path)
    async with a_receiver() as receiver:
        for plain, status in ((False, None), (True, 204)):
            caller = Caller(LOOPBACK_ONLY, plain=plain, context=tls_context(None))
            answer = await caller.call(receiver.url, {"webhook-id": "1"}, b"{}", limit=10)
            assert answer.status == status
        assert len(receiver.came) == 1


def test_a_file_without_certificates_is_an_error_of_the_setting(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for ca in (broken, tmp_path / "none.pem"):
        with pytest.raises(ConfigurationError, match="CALLBACK_CA"):
            tls_context(ca)
