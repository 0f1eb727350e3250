"""The side that forks: a process with one thread and no connection, which forks when it is asked.

A packet has the descriptors that the child is to have, and at last a socket that gets the process
descriptor of the child and, at its end, its exit code.
"""

import gc
import os
import selectors
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_PACKET: Final = 256
_FILES: Final = 8


@dataclass(frozen=True)
class Born:
    """What a child finds of itself.

    Attributes:
        said: what was asked for.
        files: descriptors that came with it.
    """

    said: bytes
    files: Sequence[int]


def fork_until_over(control: socket.socket, idle_seconds: float | None = None) -> Born | None:
    """Fork for each packet; tell of the end of each child.

    Args:
        control: where it is asked; its end ends this.
        idle_seconds: without any child it ends after these, too.

    Returns:
        In a child, what it is. None: it is over.
    """
    gc.collect()
    gc.freeze()  # the children share these pages
    children: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        while events := ready.select(None if children else idle_seconds):
            for key, _ in events:
                if key.fileobj is not control:
                    ready.unregister(key.fileobj)
                    _tell_end(key.fd, *children.pop(key.fd))
                    continue
                packet, files, _, _ = socket.recv_fds(control, _PACKET, _FILES)
                if not packet:
                    return None
                told = socket.socket(fileno=files.pop())
                if (pid := os.fork()) == 0:
                    for descriptor, (_, other) in children.items():
                        os.close(descriptor)
                        other.close()
                    told.close()
                    return Born(packet, files)
                for file in files:
                    os.close(file)
                descriptor = os.pidfd_open(pid)
                ready.register(descriptor, selectors.EVENT_READ)
                children[descriptor] = pid, told
                with suppress(OSError):  # nobody waits for it any more
                    socket.send_fds(told, [b"%d" % pid], [descriptor], socket.MSG_NOSIGNAL)
    return None


def _tell_end(descriptor: int, pid: int, told: socket.socket) -> None:
    os.close(descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with told, suppress(OSError):
        told.send(b"%d" % code, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
