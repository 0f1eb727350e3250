"""RabbitMQ's management API, as far as tests need it: virtual hosts, policies, queues."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from darkroom_common.amqp.permissions import render_permissions, render_topic_permissions

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

        The users of the services, which the node has from its start, may do there what they may do
        in production. `policies` are entries of the "policies" list of a definitions file.
        """
        ours = {"user": self._user, "vhost": name, **_EVERYTHING}
        told = {
            "vhosts": [{"name": name}],
            "permissions": [ours, *render_permissions(name)],
            "topic_permissions": render_topic_permissions(name),
            "policies": list(policies),
        }
        self._client.post("/definitions", json=told).raise_for_status()

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all that is in it, which closes its connections."""
        self._client.delete(f"/vhosts/{_part(name)}").raise_for_status()

    def names_of_queues(self, vhost: str) -> list[str]:
        """Return the names of the queues of a virtual host, as they are now."""
        response = self._client.get(f"/queues/{_part(vhost)}", params={"columns": "name"})
        response.raise_for_status()
        return [one["name"] for one in response.json()]

    def queues(self, vhost: str) -> list[dict[str, Any]]:
        """Return the queues of a virtual host; counts of messages are up to 5 s old."""
        response = self._client.get(f"/queues/{_part(vhost)}")
        response.raise_for_status()
        found: list[dict[str, Any]] = response.json()
        return found


def _part(text: str) -> str:
    return quote(text, safe="")
