"""A worker's own side: it answers the lines of its input, and is forked where that is wanted."""

import gc
import logging
import os
import resource
import selectors
import socket
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

TAKEN: Final = b"\n"
"""What a worker says first of a task: one that ends without it has done nothing."""
FORKED: Final = "--forked"
"""The last argument of a process whose input is a socket that asks for forks of it."""
IDLE_SECONDS: Final = 60.0
"""A process that only forks ends when it has had nothing to do for so long: it costs memory."""
_ASKED: Final = 1

Answer = Callable[[bytes], Iterable[bytes | memoryview]]


def answer_tasks(answer: Answer) -> None:
    r"""Do tasks until the input ends; the first argument of the process is its limit of memory.

    Args:
        answer: does the task of a line, and returns its answer: a line with its `\n`, and what
            follows it; each piece is sent at once. It says by the line what has gone wrong; what it
            raises ends the process.
    """
    if sys.argv[-1] == FORKED and not _fork_until_over():
        return
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")  # pydicom's quote values, as do its logs
    logging.disable(logging.CRITICAL)
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(TAKEN)
        sys.stdout.buffer.flush()
        for piece in answer(line):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


def _fork_until_over() -> bool:
    """Fork for each packet; tell of the end of each child. Return, in a child, that it is one.

    A packet has two sockets: what becomes the standard input and output of the child, and what
    gets its process descriptor and, at its end, its exit code. This process has one thread, no
    connection, and never sees a task.
    """
    gc.collect()
    gc.freeze()  # the children share these pages
    children: dict[int, tuple[int, socket.socket]] = {}
    with socket.socket(fileno=os.dup(0)) as control, selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        while events := ready.select(None if children else IDLE_SECONDS):
            for key, _ in events:
                if key.fileobj is not control:
                    ready.unregister(key.fileobj)
                    _tell_end(key.fd, *children.pop(key.fd))
                    continue
                packet, files, _, _ = socket.recv_fds(control, _ASKED, 2)
                if not packet:
                    return False
                stream, told = files[0], socket.socket(fileno=files[1])
                if (pid := os.fork()) == 0:
                    for descriptor, (_, other) in children.items():
                        os.close(descriptor)
                        other.close()
                    told.close()
                    _take(stream)
                    return True
                os.close(stream)
                descriptor = os.pidfd_open(pid)
                ready.register(descriptor, selectors.EVENT_READ)
                children[descriptor] = pid, told
                with suppress(OSError):  # nobody waits for it any more: its input ends
                    socket.send_fds(told, [b"%d" % pid], [descriptor], socket.MSG_NOSIGNAL)
    return False


def _take(stream: int) -> None:
    """Make a socket the standard input and output; nothing was read of the old, nor written."""
    os.dup2(stream, 0)
    os.dup2(stream, 1)
    os.close(stream)


def _tell_end(descriptor: int, pid: int, told: socket.socket) -> None:
    os.close(descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with told, suppress(OSError):
        told.send(b"%d" % code, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
