"""Small files that are there as a whole or not at all, for us alone."""

import os
from pathlib import Path

from darkroom_common.errors import ConfigurationError
from darkroom_common.objects.directory import sync_directory


class Kept:
    """One file of LICENCE_DIRECTORY.

    Args:
        directory: where it is; None: it is kept in memory, and forgotten at the end.
        name: of the file.
    """

    def __init__(self, directory: Path | None, name: str) -> None:
        self._path = None if directory is None else directory / name
        self._text = ""

    @property
    def durable(self) -> bool:
        """Whether it outlives the process."""
        return self._path is not None

    def read(self) -> str:
        """Return what was written last; nothing when nothing was.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        if self._path is None:
            return self._text
        try:
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"LICENCE_DIRECTORY: cannot read {self._path.name}: {type(error).__name__}"
            ) from error

    def write(self, text: str) -> None:
        """Replace it: it is durable when this returns.

        Raises:
            OSError: it is as it was before.
        """
        if self._path is None:
            self._text = text
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        sync_directory(self._path.parent)
