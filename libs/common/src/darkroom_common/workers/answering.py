"""A worker's own side: it answers the lines of its input, and is forked where that is wanted."""

import logging
import os
import resource
import socket
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Final

from darkroom_common.workers.forking import fork_until_over

TAKEN: Final = b"\n"
"""What a worker says first of a task: one that ends without it has done nothing."""
FORKED: Final = "--forked"
"""The last argument of a process whose input is a socket that asks for forks of it."""
IDLE_SECONDS: Final = 60.0
"""A process that only forks ends when it has had nothing to do for so long: it costs memory."""

Answer = Callable[[bytes], Iterable[bytes | memoryview]]


def answer_tasks(answer: Answer) -> None:
    r"""Do tasks until the input ends; the first argument of the process is its limit of memory.

    Args:
        answer: does the task of a line, and returns its answer: a line with its `\n`, and what
            follows it; each piece is sent at once. It says by the line what has gone wrong; what it
            raises ends the process.
    """
    if sys.argv[-1] == FORKED:
        with socket.socket(fileno=os.dup(0)) as control:
            born = fork_until_over(control, IDLE_SECONDS)
        if born is None:
            return
        _take(*born.files)
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


def _take(stream: int) -> None:
    """Make a socket the standard input and output; nothing was read of the old, nor written."""
    os.dup2(stream, 0)
    os.dup2(stream, 1)
    os.close(stream)
