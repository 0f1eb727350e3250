"""The containers of a compose project, from the kernel's side and from the wire's."""

import json
import re
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.deployed import ROOT
from tests.support.wire import say_aloud

SERVED: Final = {
    "postgres": (5432,),
    "rabbitmq": (5671,),
    "ingest": (9090, 2762, 2575, 11180),
    "metadata": (9090,),
    "transmit": (9090,),
    "print": (9090,),
    "api": (9090, 8080),
    "licensing": (9090,),
    "prometheus": (9090,),
    "alertmanager": (9093,),
    "grafana": (3000,),
}
_ASKS_FOR_TLS: Final = struct.pack(">LHH", 8, 1234, 5679)
"""SSLRequest of PostgreSQL's protocol (section 55.7)."""
_ALERT: Final = 0x15
SECONDS: Final = 20.0


def _run(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout


def soon(what: str, done: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait for something that is true; return it.

    Raises:
        AssertionError: it is not in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = done()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        threading.Event().wait(0.5)


@dataclass
class Project:
    """A compose project that runs.

    Attributes:
        name: of the project.
        secrets: the directory that secrets.sh has made.
        containers: what docker says of each, by the service's name.
    """

    name: str
    secrets: Path
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def look(self) -> None:
        """Ask docker for its containers."""
        label = f"label=com.docker.compose.project={self.name}"
        for one in json.loads(
            _run("docker", "inspect", *_run("docker", "ps", "-q", "-f", label).split())
        ):
            self.containers[one["Config"]["Labels"]["com.docker.compose.service"]] = one

    def address(self, service: str) -> str:
        """An address of a container that this machine reaches."""
        networks = self.containers[service]["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def gateway(self) -> str:
        """This machine, as containers see it that may go out."""
        networks = self.containers["print"]["NetworkSettings"]["Networks"]
        return str(networks[f"{self.name}_outside"]["Gateway"])

    def client(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Who trusts the authority of this installation."""
        context = ssl.create_default_context(
            cafile=str(self.secrets / "tls" / "authority" / "ca.pem")
        )
        if version is not None:
            context.set_ciphers("ALL:@SECLEVEL=0")  # else our own side refuses
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = version
        return context


def contained(project: Project) -> None:
    """See from the kernel's side that no container can do harm.

    Raises:
        AssertionError: one of them is root, has a capability or can write to its root.
    """
    for service, one in sorted(project.containers.items()):
        lines = Path(f"/proc/{one['State']['Pid']}/status").read_text().splitlines()
        told = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        users = set(told["Uid"].split())
        assert users, service
        assert "0" not in users, (service, users)
        for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
            assert int(told[kind], 16) == 0, (service, kind)
        assert told["NoNewPrivs"] == "1", service
        (root,) = [
            line.split()
            for line in Path(f"/proc/{one['State']['Pid']}/mountinfo").read_text().splitlines()
            if line.split()[4] == "/"
        ]
        assert "ro" in root[5].split(","), (service, root[5])
        wrote = subprocess.run(
            ["docker", "exec", one["Id"], "sh", "-c", "echo a >/written"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert wrote.returncode != 0, service
        assert "Read-only file system" in wrote.stderr, (service, wrote.stderr)
        health = one["State"].get("Health", {}).get("Status", "none")
        print(f"{service}: user {min(users)}, no capability, root read-only, health {health}")


@contextmanager
def heard(file: Path, *texts: str) -> Iterator[None]:
    """Listen on every interface; see that none of the texts went over one.

    Raises:
        AssertionError: one did, or a text that was said aloud was not heard.
    """
    loud = "said-aloud-by-this-trial"
    listener = subprocess.Popen(
        ["tcpdump", "-i", "any", "-U", "-s", "0", "-B", "65536", "-w", str(file)],
        stderr=subprocess.PIPE,
    )
    try:
        assert listener.stderr is not None
        while b"listening on" not in (line := listener.stderr.readline()):
            assert line, "tcpdump ended"
        yield
        say_aloud(loud.encode())
        soon("what is said aloud is heard", lambda: loud.encode() in file.read_bytes())
    finally:
        listener.send_signal(signal.SIGINT)
        listener.wait()
        said = listener.stderr.read().decode() if listener.stderr is not None else ""
    raw = file.read_bytes().lower()
    seen = [text for text in texts if text.lower().encode() in raw]
    assert not seen, f"{len(seen)} of {len(texts)} texts went in the clear"
    packets = re.findall(r"(\d+) packets captured", said)
    dropped = re.findall(r"(\d+) packets dropped", said)
    print(
        f"{len(raw) / 1e6:.1f} MB in {packets} packets on all interfaces ({dropped} dropped):"
        f" none of {len(texts)} texts"
    )


@contextmanager
def connected(project: Project, service: str, port: int) -> Iterator[socket.socket]:
    with socket.create_connection((project.address(service), port), timeout=SECONDS) as plain:
        if service == "postgres":
            plain.sendall(_ASKS_FOR_TLS)
            assert plain.recv(1) == b"S"
        yield plain


def shown(
    project: Project, service: str, port: int, version: ssl.TLSVersion | None = None
) -> bytes:
    """The certificate of a port, whose authority and name are checked."""
    with (
        connected(project, service, port) as plain,
        project.client(version).wrap_socket(plain, server_hostname=service) as tls,
    ):
        certificate = tls.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate


def strict(project: Project, service: str, port: int) -> None:
    """See that a port speaks TLS 1.2 and 1.3 and nothing else.

    Raises:
        AssertionError: it speaks something older, or answers in the clear.
    """
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        shown(project, service, port, version)
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        try:
            shown(project, service, port, version)
        except (ssl.SSLError, ConnectionResetError):
            continue
        raise AssertionError(f"{service}:{port} speaks {version.name}")
    asked = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    if service == "postgres":
        told = b"user\x00postgres\x00database\x00darkroom\x00\x00"
        asked = struct.pack(">LHH", len(told) + 8, 3, 0) + told
    with socket.create_connection((project.address(service), port), timeout=SECONDS) as plain:
        plain.sendall(asked)
        with suppress(ConnectionResetError):
            answer = plain.recv(4096)
            refused = b"no encryption" in answer or b"HTTP request to an HTTPS server" in answer
            assert not answer or answer[0] == _ALERT or refused, (service, port, answer[:80])


def renewed(project: Project, ports: list[tuple[str, int]]) -> None:
    """Make every certificate anew; see that each port shows its new one, and nothing restarts.

    Raises:
        AssertionError: a port does not, or a container was started anew.
    """
    before = {one: shown(project, *one) for one in ports}
    started = {name: one["State"]["StartedAt"] for name, one in project.containers.items()}
    script = ROOT / "infra" / "compose" / "certificates.sh"
    _run("sh", str(script), str(project.secrets / "tls"), "--every")
    began, waiting = time.monotonic(), set(ports)
    took: dict[str, float] = {}

    def all_taken() -> bool:
        for one in tuple(waiting):
            with suppress(OSError):
                if shown(project, *one) != before[one]:
                    waiting.discard(one)
                    took[f"{one[0]}:{one[1]}"] = round(time.monotonic() - began, 1)
        return not waiting

    try:
        soon("every port shows its new certificate", all_taken, 300)
    finally:
        print(f"new certificates were shown after, in seconds: {took}; not by {sorted(waiting)}")
    project.look()
    assert {name: one["State"]["StartedAt"] for name, one in project.containers.items()} == started
