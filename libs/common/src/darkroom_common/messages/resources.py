"""What the writers of resources are asked for: to put one, or to delete one.

The types follow from `darkroom_common.resources.declared`; a `Reply` tells the real outcome.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, TypeVar

from pydantic import Field, create_model

from darkroom_common.messages.base import Request
from darkroom_common.resources.declared import RESOURCES
from darkroom_common.resources.resource import Resource, S

M = TypeVar("M", bound="ResourceRequest")


class ResourceRequest(Request):
    """Change a resource. Nothing is changed when it is not of `version`, if one is given."""

    RESOURCE: ClassVar[Resource[Any]]

    name: str
    requested_by: str = Field(default="", max_length=64, description="user name")
    version: int | None = Field(default=None, description="stale when it is another by now")


class PutResource(ResourceRequest):
    """Add a resource or change one."""

    only_new: bool = Field(default=False, description="conflict when there is one already")
    most: int | None = Field(
        default=None, ge=0, description="no-room for a new one when there are as many"
    )

    @property
    def spec(self) -> Any:
        """What it is from now on."""
        return getattr(self, self.RESOURCE.kind)


class DeleteResource(ResourceRequest):
    """Remove a resource."""


def _put(resource: Resource[Any]) -> type[PutResource]:
    secret = " `sealed` holds its secret, if that changes." if resource.secret else ""
    fields: dict[str, Any] = {"name": (resource.key, ...), resource.kind: (resource.spec, ...)}
    made: type[PutResource] = create_model(
        f"Put{resource.schema.title()}{resource.kind.title()}",
        __base__=PutResource,
        __doc__=f"Add or change a {resource.title}.{secret}",
        __module__=__name__,
        **fields,
    )
    return _named(resource, made, "put")


def _delete(resource: Resource[Any]) -> type[DeleteResource]:
    unless = "; a conflict while it is in use" if resource.uses else ""
    made: type[DeleteResource] = create_model(
        f"Delete{resource.schema.title()}{resource.kind.title()}",
        __base__=DeleteResource,
        __doc__=f"Remove a {resource.title}{unless}.",
        __module__=__name__,
        name=(resource.key, ...),
    )
    return _named(resource, made, "delete")


def _named(resource: Resource[Any], made: type[M], verb: str) -> type[M]:
    made.TYPE = resource.type(verb)
    made.RESOURCE = resource
    return made


PUT: Final[Mapping[Resource[Any], type[PutResource]]] = {one: _put(one) for one in RESOURCES}
DELETE: Final[Mapping[Resource[Any], type[DeleteResource]]] = {
    one: _delete(one) for one in RESOURCES
}


def requests_of(schema: str) -> tuple[type[ResourceRequest], ...]:
    """Return what the writer of a schema answers."""
    return tuple(
        made for made in (*PUT.values(), *DELETE.values()) if made.RESOURCE.schema == schema
    )


def put(resource: Resource[S], name: str, spec: S, **more: Any) -> PutResource:
    """Return the request to add or change a resource; `more` are fields of `PutResource`."""
    return PUT[resource].model_validate({"name": name, resource.kind: spec, **more})


def delete(resource: Resource[Any], name: str, **more: Any) -> DeleteResource:
    """Return the request to remove a resource."""
    return DELETE[resource].model_validate({"name": name, **more})
