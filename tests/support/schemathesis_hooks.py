"""Signs the fuzzer in, and again when something that it has done has ended its session.

Schemathesis loads it by its path (`hooks` in its configuration); `DARKROOM_FUZZ_URL`,
`DARKROOM_FUZZ_USER` and `DARKROOM_FUZZ_PASSWORD` say where and as whom.
"""

import os
import secrets
from collections.abc import Sequence
from typing import Any, Final

import httpx
import schemathesis

from tests.support import schemathesis_bodies

_URL: Final = os.environ["DARKROOM_FUZZ_URL"]
_PASSWORD: Final = "Fuzzed-by-1-other"
_USERS: Final = 24
_MORE: Final = 6
_TRIES: Final = 20
_OF_OWN_ACCOUNT: Final = ("/api/v1/auth/logout", "/api/v1/auth/password", "/api/v1/auth/totp")
"""They lock, change or end the account that asks: another administrator asks these."""


_EVERY: Final[list[str]] = []
"""Administrators that were made; the fuzzer may have shut out some, and the first one, too."""


class Session:
    """An administrator who is signed in, and the others who stand in when that has ended.

    Their names cannot be locked by the fuzzer all at once, as its own would be. There are always
    others: a fuzzer that is signed out finds nothing.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self.token = ""
        self.renew()

    def renew(self) -> None:
        """Sign in as the next one who can.

        Raises:
            AssertionError: nobody can be signed in any more, and nothing would be found.
        """
        for _ in range(_TRIES):
            if not self._names:
                self._names = _made(_MORE)
            token = _token(self._names.pop(), _PASSWORD)
            if token:
                self.token = token
                return
        raise AssertionError("no administrator can be signed in")


def _token(username: str, password: str) -> str:
    named = {"username": username, "password": password}
    answer = httpx.post(f"{_URL}/api/v1/auth/login", json=named, timeout=30)
    return str(answer.json()["access_token"]) if answer.status_code == 200 else ""


def _made(count: int) -> list[str]:
    """Make administrators; return their names."""
    known = [(name, _PASSWORD) for name in _EVERY]
    known.append((os.environ["DARKROOM_FUZZ_USER"], os.environ["DARKROOM_FUZZ_PASSWORD"]))
    signed_in = (_token(*one) for one in reversed(known))
    first = next((token for token in signed_in if token), "")
    assert first, "no administrator can be signed in"
    names = [f"fuzzing-{secrets.token_hex(8)}" for _ in range(count)]
    for name in names:
        answer = httpx.post(
            f"{_URL}/api/v1/users",
            headers={"Authorization": f"Bearer {first}"},
            json={
                "username": name,
                "password": _PASSWORD,
                "email": f"{name}@darkroom.example",
                "full_name": "Fuzzing",
                "roles": ["system_admin"],
            },
            timeout=30,
        )
        answer.raise_for_status()
    _EVERY.extend(names)
    return names


_NAMES: Final = _made(_USERS)
MAIN: Final = Session(_NAMES[1::2])
OTHER: Final = Session(_NAMES[::2])


schemathesis_bodies.register()


@schemathesis.auth(refresh_interval=None)
class SignedIn:
    """Puts the token into each request."""

    def get(self, case: Any, context: Any) -> str:
        """Return the token in use."""
        return (OTHER if case.path.startswith(_OF_OWN_ACCOUNT) else MAIN).token

    def set(self, case: Any, data: str, context: Any) -> None:
        """Put it into a request."""
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Sign in again when the token in use was refused."""
    sent = str((case.headers or {}).get("Authorization", ""))
    for session in (MAIN, OTHER):
        if response.status_code == 401 and sent == f"Bearer {session.token}":
            session.renew()
