"""What is remembered of the chain outside of the database, so that its end cannot be cut.

A chain that ends earlier is as good as any, for whoever only has the database. So the last link is
kept in a file of this process, too, and told to the log of security events once a minute.
"""

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from darkroom_common.errors import ConfigurationError


@dataclass(frozen=True)
class Anchor:
    """A link that the chain has had.

    Attributes:
        number: of the link.
        mac: its code.
        log_ids: the rows that it names, where they are known.
    """

    number: int
    mac: bytes
    log_ids: tuple[uuid.UUID, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Anchor":
        """Read `number:mac`, as the log of security events has it.

        Raises:
            ValueError: it is of another form.
        """
        number, _, mac = text.partition(":")
        return cls(int(number), bytes.fromhex(mac))


class AnchorFile:
    """A file with the last link.

    Args:
        path: of the file; its directory has to be there and writable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Anchor | None:
        """Return what is kept; None before the first link.

        Raises:
            ConfigurationError: the file cannot be read, or holds something else.
        """
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            ids = tuple(uuid.UUID(one) for one in found["log_ids"])
            return Anchor(int(found["number"]), bytes.fromhex(found["mac"]), ids)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = getattr(error, "strerror", None) or "it is no anchor of the audit log"
            raise ConfigurationError(f"DARKROOM_AUDIT_ANCHOR: {self._path}: {reason}") from error

    def write(self, end: Anchor) -> None:
        """Keep the last link, as a whole or not at all.

        Raises:
            OSError: the disk does not take it.
        """
        ids = [one.hex for one in end.log_ids]
        document = {"number": end.number, "mac": end.mac.hex(), "log_ids": ids}
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
