"""What a command writes: its output, and beside it why it could not do its work."""

import sys


def say(text: str) -> None:
    """Write a line of the output, at once: whoever reads a pipe sees the progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{text}\n")
