"""What specs have in common: tolerant where they are stored and sent, strict where they are given.

A spec in the database or in a message may be of a later release, after a rollback or during an
update: what it has more is ignored. Whoever gives one to us, by REST or in a file, has made a
mistake instead, and hears of it: `strict`.
"""

import datetime as dt
import re
import types
from copy import copy
from functools import cache
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    create_model,
    model_validator,
)

from darkroom_common.messages.breaks import GROWS
from darkroom_common.specs.storable import first_fault

M = TypeVar("M", bound=BaseModel)
_OF_DAY: Final = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")


def _time_of_day(value: Any) -> Any:
    if isinstance(value, dt.time):
        fits = value.tzinfo is None
    else:
        fits = isinstance(value, str) and _OF_DAY.fullmatch(value) is not None
    if not fits:
        raise ValueError("it is no time of the day hh:mm:ss")
    return value


def _moment(value: Any) -> Any:
    if isinstance(value, dt.datetime) or (isinstance(value, str) and _DAY.match(value)):
        return value
    raise ValueError("it is no time YYYY-MM-DDThh:mm:ss")


TimeOfDay = Annotated[dt.time, BeforeValidator(_time_of_day)]
"""On a clock whose time zone is said elsewhere."""
WrittenMoment = Annotated[dt.datetime, BeforeValidator(_moment)]
"""A date with its time, with or without an offset."""


class Spec(BaseModel):
    """What is stored and sent of something that people configure or order."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        json_schema_extra={GROWS: True},
    )

    @model_validator(mode="before")
    @classmethod
    def _can_be_kept(cls, given: Any) -> Any:
        """Refuse what could be neither stored nor sent, in whatever field it is."""
        fault = first_fault(given)
        if fault is not None:
            raise ValueError(fault.reason)
        return given


class ResourceSpec(Spec):
    """What people configure under a name; see `darkroom_common.resources`."""

    enabled: StrictBool = True
    description: str = Field(default="", max_length=256)


@cache
def strict(model: type[M]) -> type[M]:
    """Return the subclass of a model, of its name, that refuses what it does not know.

    So do the specs in its fields, however deep. It may decorate a model that extends a spec.
    """
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        annotation = _strict_type(field.annotation)
        if annotation == field.annotation:
            continue
        inner = copy(field)
        inner.annotation = annotation
        if isinstance(field.default, Spec):
            inner.default = strict(type(field.default)).model_validate(field.default.model_dump())
        fields[name] = (annotation, inner)
    made: Any = create_model(
        model.__name__,
        __base__=model,
        __module__=model.__module__,
        __doc__=model.__doc__,
        __cls_kwargs__={"extra": "forbid", "json_schema_extra": None},
        **fields,
    )
    checked: type[M] = made
    return checked


def as_spec(model: type[M], given: BaseModel) -> M:
    """Return what a strict or an extended model holds of a spec."""
    return model.model_validate(given.model_dump(include=set(model.model_fields)))


def _strict_type(annotation: Any) -> Any:
    """Return a type with strict specs in the place of the tolerant ones."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return strict(annotation)
    origin, inner = get_origin(annotation), get_args(annotation)
    made = tuple(_strict_type(one) for one in inner)
    if origin is None or made == inner:
        return annotation
    if origin is Annotated:
        return Annotated[made]
    return Union[made] if origin in (Union, types.UnionType) else origin[made]  # noqa: UP007
