"""Ports that whoever runs a service holds for it."""

import socket
from collections.abc import Iterator

import pytest

from darkroom_common.dimse import acceptor
from darkroom_common.errors import ConfigurationError
from darkroom_common.http import server
from darkroom_common.links.inherited import VARIABLE, inherited, is_held, told
from darkroom_local.engines.ports import LOOPBACK, free_port
from darkroom_local.stack.listeners import Listeners


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def held(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listeners]:
    made = Listeners({"api": ((LOOPBACK, port),), "two": ()})
    for name, value in made.of("api").items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


def test_nobody_listens_until_a_service_does(held: Listeners, port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port), timeout=5)
    with acceptor.listen(LOOPBACK, port):
        socket.create_connection((LOOPBACK, port), timeout=5).close()
    assert held.of("two") == {}
    assert len(held.files("api")) == 1


@pytest.mark.parametrize("listen", [acceptor.listen, server.listen])
def test_what_waits_when_one_ends_is_taken_by_the_next(
    held: Listeners, port: int, listen: type
) -> None:
    first, second = listen(LOOPBACK, port), listen(LOOPBACK, port)
    with socket.create_connection((LOOPBACK, port), timeout=5) as caller:
        first.close()
        accepted, _ = second.accept()
        with accepted, second:
            caller.sendall(b"there")
            assert accepted.recv(5) == b"there"
    with socket.create_connection((LOOPBACK, port), timeout=5):  # the port is held yet
        assert is_held(port)


def test_each_process_of_several_has_a_socket_of_its_own(port: int) -> None:
    held = Listeners({"api": ((LOOPBACK, port), (LOOPBACK, port))})
    try:
        assert len(held.files("api")) == 2
    finally:
        held.close()


def test_without_the_variable_nothing_is_held(port: int) -> None:
    assert inherited(port, 5) == []
    assert not is_held(port)


@pytest.mark.parametrize("value", ["x", "[]", '{"%d": [99999]}', '{"%d": 3}', '{"%d": ["a"]}'])
def test_what_is_no_list_of_sockets_is_refused(
    port: int, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, value.replace("%d", str(port)))
    with pytest.raises(ConfigurationError, match="LISTENERS"):
        inherited(port, 5)


def test_a_socket_of_another_port_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        monkeypatch.setenv(VARIABLE, told({port: [other.fileno()]}))
        with pytest.raises(ConfigurationError, match="another"):
            inherited(port, 5)
