"""Ports for children: who has chosen one has it until the child listens."""

import subprocess
import sys
from collections import deque
from socket import socket

import pytest

from darkroom_local.engines import ports

CHOOSE = """
import sys
from collections import deque
from darkroom_local.engines import ports
ports._RANGE = range(31900, 31940)
print(*(ports.free_port() for _ in range(10)), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="names of abstract sockets are Linux's")
def test_no_two_processes_get_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_RANGE", range(31900, 31940))
    ours = {ports.free_port() for _ in range(10)}
    command = [sys.executable, "-c", CHOOSE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = {int(word) for word in other.stdout.readline().split()}
        other.communicate()
    assert len(ours) == len(theirs) == 10
    assert not ours & theirs


def test_a_claim_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_RANGE", range(31950, 31951))
    claims: deque[tuple[float, socket]] = deque()
    monkeypatch.setattr(ports, "_claims", claims)
    monkeypatch.setattr(ports, "_CLAIM_SECONDS", -1.0)
    assert [ports.free_port() for _ in range(3)] == [31950] * 3
    claims.pop()[1].close()
