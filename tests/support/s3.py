"""Stores that speak S3, as processes of a test, and what may happen on the way to them."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.support.certificates import Pair
from tests.support.waiting import LIMIT, until_true

BUCKET: Final = "objects"
KEYS: Final = {"aws_access_key_id": "planted-id", "aws_secret_access_key": "planted-secret"}
_HTTP: Final = 1 << 16


@dataclass
class Server:
    """A store that runs, with a bucket.

    Attributes:
        port: on the loopback.
        credentials: a file that says them.
    """

    port: int
    credentials: Path
    base: str = "http://127.0.0.1"
    authority: Path | None = None

    def client(self) -> Any:
        """Return a client that is not ours."""
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=f"{self.base}:{self.port}",
            verify=None if self.authority is None else str(self.authority),
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
            **KEYS,
        )

    def url(self, prefix: str, *, port: int | None = None, more: str = "") -> str:
        """Return the URL of a store in its bucket."""
        endpoint = quote(f"{self.base}:{port or self.port}", safe="")
        given = f"endpoint={endpoint}&credentials={quote(str(self.credentials), safe='')}"
        return f"s3://{BUCKET}/{prefix}?{given}{more}"


@contextmanager
def moto(
    directory: Path, *, tls: tuple[Pair, Path] | None = None, host: str = LOOPBACK, port: int = 0
) -> Iterator[Server]:
    """Run moto's server; with a certificate, and the file of its authority, it speaks TLS.

    Args:
        directory: of its log and credentials.
        tls: see above.
        host: to which it binds.
        port: none: a free one.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    server = Server(port, directory / "credentials")
    if tls is not None:
        pair, authority = tls
        command += ["--ssl", "--ssl-cert", str(pair.certificate), "--ssl-key", str(pair.key)]
        server = replace(server, base="https://localhost", authority=authority)
    with _running(command, directory, server):
        yield server


@contextmanager
def seaweed(directory: Path) -> Iterator[Server]:
    """Run SeaweedFS: master, volume, filer and S3 in one process."""
    weed = Path(sys.executable).with_name("weed")
    named: dict[str, int] = {}
    for name in _PORTS.split():
        named[name] = free_port(frozenset(named.values()))
    config = directory / "s3.json"
    config.write_text(_IDENTITIES)
    words = f"server -dir={directory} -s3.config={config} {_WORDS}".split()
    ports = [f"-{name}={port}" for name, port in named.items()]
    server = Server(named["s3.port"], directory / "credentials")
    with _running([str(weed), *words, *ports], directory, server):
        yield server


_PORTS: Final = (
    "master.port master.port.grpc volume.port volume.port.grpc filer.port filer.port.grpc"
    " s3.port s3.port.grpc"
)
_WORDS: Final = (
    "-ip=127.0.0.1 -ip.bind=127.0.0.1 -filer -s3 -s3.port.iceberg=0 -s3.port.lance=0"
    " -volume.max=20 -master.volumeSizeLimitMB=64 -master.telemetry=false"
)
_IDENTITIES: Final = (
    '{"identities": [{"name": "darkroom", "credentials": [{"accessKey": "planted-id",'
    ' "secretKey": "planted-secret"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}'
)


@contextmanager
def _running(command: list[str], directory: Path, server: Server) -> Iterator[None]:
    server.credentials.write_text(
        "[default]\n" + "".join(f"{name} = {value}\n" for name, value in KEYS.items())
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
    try:
        until_true(lambda: _is_ready(server), "the S3 server and a bucket", limit=60)
        yield
    finally:
        process.kill()  # SeaweedFS takes half a minute to say goodbye
        process.wait(20)


def _is_ready(server: Server) -> bool:
    client = server.client()
    try:
        with suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"x")
        client.delete_object(Bucket=BUCKET, Key="ready")
    except (BotoCoreError, ClientError):
        return False
    return True


@dataclass
class Way:
    """A TCP proxy to a server, which does to the next connections what it is told.

    Attributes:
        port: of it.
        sayings: an answer for each of the next connections, in place of the server's.
        up: bytes of requests after which a connection is cut, one for each; None: never.
        down: likewise of answers.
        pause: seconds before anything is passed on.
        replaced: what of requests is passed on as something else, of the same length.
        requests: the first line of each request that was passed on.
    """

    port: int
    to: int
    sayings: list[bytes] = field(default_factory=list)
    up: list[int | None] = field(default_factory=list)
    down: list[int | None] = field(default_factory=list)
    pause: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)
    replaced: tuple[bytes, bytes] = (b"", b"")
    closed: bool = False
    _open: list[socket.socket] = field(default_factory=list)

    def close(self) -> None:
        """Be away from now on."""
        self.closed = True
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve(self, listener: socket.socket) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=(one,), daemon=True).start()

    def _connection(self, near: socket.socket) -> None:
        with near:
            self.pause.wait()
            if self.closed:
                return
            if self.sayings:
                answer = self.sayings.pop(0)
                near.recv(_HTTP)
                with suppress(OSError):
                    near.sendall(answer)
                return
            up = self.up.pop(0) if self.up else None
            down = self.down.pop(0) if self.down else None
            try:
                far = socket.create_connection(("127.0.0.1", self.to), timeout=20)
            except OSError:
                return
            self._open += [near, far]
            with far:
                back = threading.Thread(target=self._pass, args=(far, near, down), daemon=True)
                back.start()
                self._pass(near, far, up, noting=True)
                back.join(LIMIT)

    def _pass(
        self, source: socket.socket, sink: socket.socket, most: int | None, *, noting: bool = False
    ) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(_HTTP):
                if noting and self.replaced[0]:
                    data = data.replace(*self.replaced)
                if noting and data.split(b" ", 1)[0] in _METHODS:
                    self.requests.append(data.split(b"\r\n", 1)[0].decode())
                if most is not None and passed + len(data) > most:
                    sink.sendall(data[: most - passed])
                    break
                sink.sendall(data)
                passed += len(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


_METHODS: Final = frozenset({b"GET", b"PUT", b"POST", b"HEAD", b"DELETE"})


@contextmanager
def way_to(server: Server) -> Iterator[Way]:
    """Run a proxy to a server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        way = Way(listener.getsockname()[1], server.port)
        way.pause.set()
        thread = threading.Thread(target=way.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield way
        finally:
            way.close()
            way.pause.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(LIMIT)
