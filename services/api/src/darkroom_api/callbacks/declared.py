"""The five routes of callbacks: as of every resource, but changed here, and with secrets of ours.

A secret is shown once, in the answer that makes it. Whoever declares callbacks by program may bring
their own; without one there is a new one. Nobody has others told of what they may not see.
"""

from typing import Any, Final

from pydantic import BaseModel, Field, create_model
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.accounts.permissions import exceeding
from darkroom_api.callbacks import signing
from darkroom_api.callbacks.spec import EVERY_EVENT, CallbackSpec
from darkroom_api.events.catalogue import KINDS
from darkroom_api.http.asking import done
from darkroom_api.http.errors import invalid, permission_denied
from darkroom_api.http.etags import answer, named_version
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.resources.served import Served
from darkroom_common.resources.answers import refused
from darkroom_common.resources.resource import Refusal, Resource
from darkroom_common.resources.spec_table import SpecTable
from darkroom_common.specs.base import as_spec

_MADE: Final = "callback_secret"
SHOWN_ONCE: Final = Field(description="what signatures are checked with; shown this once")


class OwnCallbacks(Served[CallbackSpec]):
    """Answers to list, add, show, change and remove callbacks."""

    def __init__(self, resource: Resource[CallbackSpec], state: type[BaseModel]) -> None:
        super().__init__(resource, state)
        self.models.made = create_model(
            "MadeCallback",
            __base__=self.models.shown,
            __doc__="A callback, and its secret.",
            secret=(str, SHOWN_ONCE),
        )

    def _table(self, request: Request) -> SpecTable[CallbackSpec]:
        parts = parts_of(request.scope)
        return SpecTable(self.resource, parts.database, seal=parts.seal)

    async def _put(self, request: Request, name: str, given: Any, **more: Any) -> str:
        spec = as_spec(self.resource.spec, given)
        _require_rights(request, spec)
        if spec.url.startswith("http:") and not parts_of(request.scope).settings.callback_http:
            raise invalid("body.url", "It is https, unless CALLBACK_HTTP allows http.")
        secret = None if given.secret is None else given.secret.get_secret_value()
        first = signing.new_secret()
        if secret is not None and not signing.is_secret(secret):
            raise invalid("body.secret", "It is `whsec_` and the base64 of 24 to 64 bytes.")
        by = principal_of(request.scope).username[:64]
        try:
            new = await self._table(request).put(
                name, spec, by=by, secret=secret, first_secret=first, **more
            )
        except Refusal as error:
            done(refused(error))
            raise
        setattr(request.state, _MADE, first if secret is None else secret)
        return "created" if new else "done"

    async def _made(self, request: Request, name: str) -> Response:
        secret = getattr(request.state, _MADE)
        found = await self._current(request, name)
        return answer({**found, "secret": secret}, 201, version=named_version(found))

    async def _delete(self, request: Request, name: str, version: int | None) -> None:
        by = principal_of(request.scope).username[:64]
        try:
            await self._table(request).delete(name, by=by, version=version)
        except Refusal as error:
            done(refused(error))
            raise


def _require_rights(request: Request, spec: CallbackSpec) -> None:
    wanted = {
        str(kind.permission)
        for name, kind in KINDS.items()
        if name in spec.events or EVERY_EVENT in spec.events
    }
    beyond = exceeding(sorted(wanted), principal_of(request.scope).permissions)
    if beyond:
        raise permission_denied(beyond[0])
