"""A command: who runs it, its output, and beside that why it could not do its work."""

import getpass
import os
import sys


def operator() -> str:
    """Return the name of the user who runs the command, or `uid <number>` where it has none.

    In a container it has none as a rule; on OpenShift its number is any.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def say(text: str) -> None:
    """Write a line of the output, at once: whoever reads a pipe sees the progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{text}\n")
