"""The secrets of one installation: made on its first start, kept in files of mode 0600."""

import base64
import json
import os
import secrets
from pathlib import Path
from typing import Final

from darkroom_common.amqp.permissions import USERS
from darkroom_local.stack.layout import SERVICES, Layout

ROLES: Final = ("darkroom_migrate", *(f"darkroom_{name}" for name in SERVICES))

_KEYS: Final = ("phi-keys", "blind-index-key", "pseudonym-key", "jwt-key")
_AMQP: Final = "amqp-passwords"
_AUDIT: Final = "audit-keys"
"""Came later: a directory from before gets them at its next start, once."""


class KeysLostError(RuntimeError):
    """Data are there, but keys that they need are not; making new ones would not help."""


class Keyring:
    """Reads and makes secrets of a `Layout`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._directory = layout.secrets

    def make(self) -> None:
        """Make all secrets on the first start.

        Raises:
            KeysLostError: objects or a database are there, but not every key.
        """
        self._layout.restored.unlink(missing_ok=True)  # who starts here has traffic: it is no copy
        self._make_before_objects()
        self._make_audit_keys()
        self._make_amqp_passwords()

    def _make_audit_keys(self) -> None:
        made = self._directory / "made-audit-keys"
        if made.exists() and not self.path(_AUDIT).exists():
            raise KeysLostError(
                f"{_AUDIT} in {self._directory} is gone: put it back from your backup;"
                " without it nobody can tell whether the audit log was changed"
            )
        if not made.exists():
            self.write(_AUDIT, new_keys())
            write_secret(made, "")

    def _make_before_objects(self) -> None:
        started = self._directory / "made"
        missing = [name for name in _KEYS if not self.path(name).exists()]
        if started.exists() or any(self._layout.objects.iterdir()):
            if missing:
                raise KeysLostError(
                    f"{self._layout.data} holds data, but {', '.join(missing)} in "
                    f"{self._directory} is gone: put it back from your backup"
                )
            return
        self.write("phi-keys", new_keys())
        for name in _KEYS[1:]:
            self.write(name, _key())
        self._make_passwords()
        write_secret(self._layout.admin_password, secrets.token_urlsafe(15) + "\n")
        write_secret(started, "")

    def take(self, directory: Path) -> None:
        """Take over the keys of an installation whose data are restored; passwords are made anew.

        Raises:
            KeysLostError: `directory` lacks one of them.
        """
        missing = [name for name in (*_KEYS, _AUDIT) if not (directory / name).is_file()]
        if missing:
            raise KeysLostError(f"{directory} lacks {', '.join(missing)}: put back your copy")
        for name in (*_KEYS, _AUDIT):
            self.write(name, (directory / name).read_text())
        self._make_passwords()
        for marker in ("made-audit-keys", "made"):
            self.write(marker, "")

    def _make_passwords(self) -> None:
        self.write("role-passwords", json.dumps({r: new_password() for r in ROLES}))

    def _make_amqp_passwords(self) -> None:
        """Make those that are missing: the broker takes them at each of its starts."""
        if not self.path(_AMQP).exists():
            made = {user: secrets.token_urlsafe(24) for user in USERS.values()}
            self.write(_AMQP, json.dumps(made))

    def path(self, name: str) -> Path:
        """Return the file of a secret."""
        return self._directory / name

    def write(self, name: str, value: str) -> Path:
        """Keep a secret and return its file."""
        write_secret(self.path(name), value)
        return self.path(name)

    def amqp_passwords(self) -> dict[str, str]:
        """Return the password of each user of the broker."""
        return dict(json.loads(self.path(_AMQP).read_text()))

    def role_password(self, role: str) -> str:
        """Return the password of a database role."""
        return str(json.loads(self.path("role-passwords").read_text())[role])


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, replacing it as a whole."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def new_password() -> str:
    """Return a password of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(24)


def new_key() -> str:
    """Return a new key, in base64."""
    return _key()


def new_keys() -> str:
    """Return a new key as number 1, in the form of PHI_KEYS."""
    return json.dumps({"current": 1, "keys": {"1": _key()}})


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
