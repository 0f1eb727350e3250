"""The second look at tests that failed: each once more, alone, on a machine that does nothing else.

A whole run starts thousands of processes on a few cores, and a test that waits for one of them may
wait too long. What fails again has failed. What passes now is named at the end of the run, as a
fault of the test, or of what it tests, that is to be looked for (docs/adr/0029). More failures than
`MOST` are no accident, and a test of what is lost or doubled by a kill never has a second chance.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

MOST: Final = 5
"""Failures of a whole run that are looked at again."""
ONCE: Final = (
    "killed",
    "upgrade",
    "points_in_time",
    "quarantine",
    "replicat",
    "purge",
    "retention",
)
"""In the names of files whose tests hold that nothing is lost, or deleted that must stay."""
_KEPT: Final = Path(".pytest_cache/v/cache/lastfailed")


def refusal(failed: list[str]) -> str:
    """Return why there is no second look at tests; empty when there is one."""
    if not failed:
        return "No test is known to have failed: the run itself did."
    if len(failed) > MOST:
        return f"{len(failed)} failed; {MOST} at most are looked at again."
    for one in failed:
        if "::" not in one:
            return f"{one} could not be read."
        if any(word in one.partition("::")[0] for word in ONCE):
            return f"{one} is not looked at again: it holds that nothing is lost."
    return ""


def main() -> int:
    """Run what failed once more; return 0 when all of it passes."""
    failed = sorted(json.loads(_KEPT.read_text())) if _KEPT.exists() else []
    if why := refusal(failed):
        sys.stdout.write(f"{why}\n")
        return 1
    sys.stdout.write(f"Once more, alone: {len(failed)} that failed.\n")
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", *failed]
    ended = subprocess.run(command, check=False).returncode
    if ended == 0:
        lines = "".join(f"  {one}\n" for one in failed)
        sys.stdout.write(f"PASSED ONLY WHEN RUN AGAIN; each hides a fault to be found:\n{lines}")
    return ended


if __name__ == "__main__":
    sys.exit(main())
