"""A worker that does what its task says: for the tests of those that ask workers."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from darkroom_common.workers.answering import answer_tasks


def answer(line: bytes) -> Iterator[bytes]:
    """Answer `<word> <number>`."""
    word, _, number = line.strip().partition(b" ")
    match word:
        case b"echo":
            yield number + b"\n"
        case b"die":
            os._exit(9)
        case b"wait":
            time.sleep(float(number))  # a loop of somebody's decoder
            yield b"late\n"
        case b"long":
            yield bytes(int(number)) + b"\n"
        case b"make":
            yield number + b"\n"
            yield b"x" * int(number)
        case b"cut":
            yield number + b"\n"
            yield b"x" * (int(number) // 2)
            raise OSError
        case b"count":
            yield from (b"%d\n" % n for n in range(int(number)))
        case b"open":
            yield b"%d\n" % len(list(Path("/proc/self/fd").iterdir()))
        case b"grow":
            yield b"%d\n" % len(bytearray(int(number)))


if __name__ == "__main__":
    answer_tasks(answer)
