"""Signs the fuzzer in, and again when something that it has done has ended its session.

Schemathesis loads it by its path (`hooks` in its configuration); `DARKROOM_FUZZ_URL`,
`DARKROOM_FUZZ_USER` and `DARKROOM_FUZZ_PASSWORD` say where and as whom.
"""

import os
from typing import Any, Final

import httpx
import schemathesis

_URL: Final = os.environ["DARKROOM_FUZZ_URL"]
_OTHER: Final = ("fuzzed", "Fuzzed-by-1-other")
_OF_OWN_ACCOUNT: Final = ("/api/v1/auth/logout", "/api/v1/auth/password", "/api/v1/auth/totp")
"""They lock, change or end the account that asks: another administrator asks these."""


class Session:
    """Somebody who is signed in."""

    def __init__(self, username: str, password: str) -> None:
        self._named = {"username": username, "password": password}
        # Its cookie lets it in though the fuzzer has had its name locked.
        self._client = httpx.Client(base_url=_URL, timeout=30)
        self.token = ""
        self.renew()
        if not self.token:
            raise RuntimeError(f"{username} cannot sign in")

    def renew(self) -> None:
        """Sign in; who is locked for a while keeps the token that has ended."""
        answer = self._client.post("/api/v1/auth/login", json=self._named)
        if answer.status_code == 200:
            self.token = answer.json()["access_token"]


MAIN: Final = Session(os.environ["DARKROOM_FUZZ_USER"], os.environ["DARKROOM_FUZZ_PASSWORD"])
httpx.post(
    f"{_URL}/api/v1/users",
    headers={"Authorization": f"Bearer {MAIN.token}"},
    json={
        "username": _OTHER[0],
        "password": _OTHER[1],
        "email": "fuzzed@darkroom.example",
        "full_name": "Fuzzed",
        "roles": ["system_admin"],
    },
    timeout=30,
)
OTHER: Final = Session(*_OTHER)


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
