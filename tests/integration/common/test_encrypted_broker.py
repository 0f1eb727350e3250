"""Connections to RabbitMQ over TLS: checked, of a version that is left, with renewed files."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from darkroom_common.amqp.broker import BrokerUnavailable
from darkroom_common.amqp.connection import Link
from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.engines.process import unprivileged_account
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ, RabbitPorts
from darkroom_local.engines.tls import TlsPair
from tests.support.certificates import Authority, new_versions_only


@dataclass
class Site:
    """A node with TLS alone, and where its files come from."""

    node: PrivateRabbitMQ
    files: Path
    made: Path

    def authority(self, name: str) -> Authority:
        (self.made / name).mkdir()
        return Authority(self.made / name)

    def install(self, authority: Authority) -> None:
        pair = authority.sign("server")
        account = unprivileged_account("rabbitmq", "nobody")
        for source, name in (
            (authority.file, "ca.pem"),
            (pair.certificate, "server.pem"),
            (pair.key, "server.key"),
        ):
            shutil.copy(source, self.files / f"{name}.new")
            if account:
                shutil.chown(self.files / f"{name}.new", account.uid, account.gid)
            (self.files / f"{name}.new").replace(self.files / name)


@pytest.fixture
async def site(engine_directory: Path, tmp_path: Path) -> AsyncIterator[Site]:
    files = engine_directory / "tls"
    files.mkdir(mode=0o755)
    pair = TlsPair(files / "ca.pem", files / "server.pem", files / "server.key")
    ports = replace(RabbitPorts.free(), tls=pair)
    node = PrivateRabbitMQ(engine_directory / "rabbitmq", ports=ports)
    made = Site(node, files, tmp_path)
    made.install(made.authority("first"))
    async with node.running():
        yield made


async def connected(link: Link) -> None:
    try:
        await link.channel()
    finally:
        await link.close()


def link(url: str) -> Link:
    return Link(url, service="test", purpose="publish")


@pytest.mark.req("DEP-08")
async def test_a_broker_is_checked_and_its_renewed_authority_taken(
    site: Site, tmp_path: Path
) -> None:
    url, port = site.node.url(), site.node.ports.amqp
    ca, stranger = site.files / "ca.pem", site.authority("stranger").file
    await new_versions_only(port, ca)
    for refused in (
        url.replace("localhost", LOOPBACK),  # not who it says it is
        url.replace(str(ca), str(stranger)),  # an authority that nobody knows
        url.replace("amqps:", "amqp:"),  # it does not talk plain
        url.replace(str(ca), str(tmp_path / "nowhere.pem")),
    ):
        with pytest.raises(BrokerUnavailable):
            await connected(link(refused))

    lasting = link(url)
    await connected(lasting)
    site.install(site.authority("second"))
    await site.node.control("eval", "ssl:clear_pem_cache().")  # it does so itself in two minutes
    await connected(lasting)  # which would not trust the first authority's successor
    old = site.made / "first" / "ca.pem"
    with pytest.raises(BrokerUnavailable):
        await connected(link(url.replace(str(ca), str(old))))
