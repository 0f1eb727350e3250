"""Releases of Darkroom beside this one: an interpreter that runs the code of another commit.

Where the history is, that is real old code. Without it (a source archive, a clone of one commit) it
is this code without its newest migrations: it finds a schema that is newer than what it knows.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_FIRST: Final = ("HAND_OVER: Final", "libs/common/src/darkroom_common/siblings.py")
"""What came with the first commit whose services take over ports."""
_MIGRATIONS: Final = ":(glob)services/*/src/*/migrations/*.sql"
_CODE: Final = ("libs", "services", "infra")


@dataclass(frozen=True)
class OtherRelease:
    """Another release.

    Attributes:
        python: runs its code with the packages of this environment.
        what: it is, for the output of a test.
    """

    python: Path
    what: str


def of_commit(commit: str, directory: Path) -> OtherRelease:
    """Set down the code of a commit."""
    source = directory / "source"
    source.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, *_CODE], check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
    return OtherRelease(_interpreter(directory, source), f"commit {commit[:12]}")


def this_one(directory: Path) -> OtherRelease:
    """This code, for whoever was started by another release and has its paths."""
    directory.mkdir(parents=True)
    return OtherRelease(_interpreter(directory, ROOT), "this code")


def without_newest_migrations(directory: Path) -> OtherRelease:
    """Set down this code as if the newest migration of each schema were still to come."""
    source = directory / "source"
    for name in _CODE:
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".venv")
        )
    for folder in sorted(source.glob("services/*/src/*/migrations")):
        max(folder.glob("*.sql")).unlink()
    return OtherRelease(_interpreter(directory, source), "this code, without newest migrations")


def earlier(directory: Path) -> OtherRelease:
    """Set down the first commit whose services take over ports; or what stands for it."""
    commits = commits_with(*_FIRST)
    if not commits or commits[-1] == _git("rev-parse", "HEAD"):
        return without_newest_migrations(directory)
    return of_commit(commits[-1], directory)


def back(commits: int) -> str | None:
    """The commit so many landings back; None without that much history."""
    return _git("rev-parse", "--verify", "--quiet", f"HEAD~{commits}") or None


def steps_back(steps: int) -> str | None:
    """The code before the last so many commits that brought migrations; None without a history.

    Where no release has a name yet, these are what makes one differ from the next.
    """
    words = ("log", "--format=%H", "--diff-filter=A", "--find-renames", "--", _MIGRATIONS)
    brought = _git(*words).split()
    return _git("rev-parse", f"{brought[steps - 1]}^") if len(brought) >= steps else None


def commits_with(text: str, path: str) -> list[str]:
    """Commits that have added or removed a text, the newest first; none without a history."""
    return _git("log", "--format=%H", f"-S{text}", "--", path).split()


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *words], check=False, capture_output=True, text=True
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _interpreter(directory: Path, source: Path) -> Path:
    folders = sorted(str(path) for name in _CODE for path in source.glob(f"{name}/*/src"))
    folders += [str(source / "infra/local/src")]
    python = directory / "python"
    path = os.pathsep.join(dict.fromkeys(folders))
    python.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    directory.chmod(0o755)
    return python
