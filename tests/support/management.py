"""RabbitMQ's management API, as far as tests need it: virtual hosts, policies, queues."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

_EVERYTHING: Final = {"configure": ".*", "write": ".*", "read": ".*"}


class Management:
    """A synchronous client; every method raises `httpx.HTTPError` when the node refuses."""

    def __init__(self, base_url: str, user: str, password: str) -> None:
        self._user = user
        self._client = httpx.Client(
            base_url=f"{base_url}/api", auth=(user, password), timeout=30, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def create_vhost(self, name: str, policies: Sequence[Mapping[str, Any]] = ()) -> None:
        """Make a virtual host in which our user may do everything, with these policies.

        `policies` are entries of the "policies" list of a definitions file.
        """
        self._put(f"/vhosts/{_part(name)}", {})
        self._put(f"/permissions/{_part(name)}/{_part(self._user)}", _EVERYTHING)
        for policy in policies:
            body = {key: value for key, value in policy.items() if key not in {"name", "vhost"}}
            self._put(f"/policies/{_part(name)}/{_part(policy['name'])}", body)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all that is in it, which closes its connections."""
        self._client.delete(f"/vhosts/{_part(name)}").raise_for_status()

    def queues(self, vhost: str) -> list[dict[str, Any]]:
        """Return the queues of a virtual host; counts of messages are up to 5 s old."""
        response = self._client.get(f"/queues/{_part(vhost)}")
        response.raise_for_status()
        found: list[dict[str, Any]] = response.json()
        return found

    def _put(self, path: str, body: Mapping[str, Any]) -> None:
        self._client.put(path, json=dict(body)).raise_for_status()


def _part(text: str) -> str:
    return quote(text, safe="")
