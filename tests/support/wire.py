"""What goes over the loopback interface, and who listens there."""

import re
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_ETH_P_ALL: Final = 3
_FRAME: Final = 1 << 17
_BUFFER: Final = 64 << 20
_LISTEN: Final = "0A"


class Wire:
    """Looks for texts in every frame of the loopback interface while it runs; needs root."""

    def __init__(self, *texts: bytes) -> None:
        self.seen: set[bytes] = set()
        self.frames = 0
        self._pattern = re.compile(b"|".join(re.escape(text) for text in texts))

    @contextmanager
    def listening(self) -> Iterator["Wire"]:
        ended = threading.Event()
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as raw:
            with suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, 33, _BUFFER)  # SO_RCVBUFFORCE
            raw.bind(("lo", 0))
            raw.settimeout(0.2)
            thread = threading.Thread(target=self._look, args=(raw, ended))
            thread.start()
            try:
                yield self
            finally:
                ended.set()
                thread.join()

    def _look(self, raw: socket.socket, ended: threading.Event) -> None:
        buffer = bytearray(_FRAME)
        while not ended.is_set():
            try:
                size = raw.recv_into(buffer)
            except TimeoutError:
                continue
            self.frames += 1
            self.seen.update(self._pattern.findall(buffer, 0, size))


def say_aloud(text: bytes) -> None:
    """Send a text over a plain connection of the loopback interface."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        there, _ = server.accept()
        with there:
            client.sendall(text)
            there.recv(1 << 16)


def descendants(pid: int) -> set[int]:
    """Return a process and all that it has started."""
    found = {pid}
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found |= descendants(int(child))
    return found


def ports_of(pids: Iterable[int]) -> set[int]:
    """Return the TCP ports that processes listen on."""
    inodes = set()
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    inodes.add(str(entry.readlink()))
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in inodes:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found
