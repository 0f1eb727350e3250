"""The form of every list of REST: a page by number, and a cursor that stays right meanwhile.

The cursor of `Link: rel="next"` is the sort and the last row's keys. It is opaque to clients; one
that was made up shows other rows of the same list at most.
"""

import base64
import binascii
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import not_
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.errors import ApiError, invalid
from darkroom_api.http.parts import parts_of
from darkroom_common.postgres.listing import NEWEST_JOBS, OLDEST_JOBS, Key, Order, Window, page

MOST: Final = 200
_BIGGEST: Final = 2**63 - 1
Item = TypeVar("Item")


class ListQuery(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(hide_input_in_errors=True)

    page: int = Field(default=1, ge=1, le=1_000_000)
    page_size: int = Field(default=20, ge=1, le=MOST)
    cursor: str | None = Field(
        default=None,
        max_length=1024,
        description="from the `Link` of the page before: what follows it, whatever has arrived"
        " since; `page` is then for the eye alone",
    )
    sort: str

    @property
    def offset(self) -> int:
        """The rows before a page that is asked for by its number."""
        return (self.page - 1) * self.page_size

    def narrowed(self) -> dict[str, object]:
        """Return what the list is narrowed by, by column."""
        return self.model_dump(exclude=set(ListQuery.model_fields))


@dataclass(frozen=True)
class Catalogue(Generic[Item]):
    """What a list is made of.

    Attributes:
        source: a SELECT of our own words with the columns of the orders.
        orders: by the words of `sort`.
        shown: makes an item of a row.
        bound: the values that the source refers to as $1 and so on.
    """

    source: str
    orders: Mapping[str, Order]
    shown: Callable[[Any], Item]
    bound: Sequence[object] = ()


class JobsQuery(ListQuery):
    """Which page of a list of jobs."""

    sort: Literal["-created_at", "created_at"] = "-created_at"


JOBS: Final = {"-created_at": NEWEST_JOBS, "created_at": OLDEST_JOBS}
NAMES: Final = {"name": Order({"name": str}), "-name": Order({"name": str}, descending=True)}


class Listed(BaseModel, Generic[Item]):
    """A page of a list."""

    data: list[Item]
    total: int = Field(description="of all pages")
    page: int
    page_size: int
    total_is_estimate: bool = Field(
        default=False,
        exclude_if=not_,
        description="only there, and true, when more than 10,000 were not counted",
    )


LINKED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "One page.",
        "headers": {
            "Link": {"description": '`rel="next"`, if any', "schema": {"type": "string"}},
            "X-Total-Count": {"description": "`total`", "schema": {"type": "integer"}},
        },
    }
}
"""What OpenAPI says beside the body of a list."""


async def list_of(
    request: Request,
    response: Response,
    asked: ListQuery,
    catalogue: Catalogue[Item],
    equal: Mapping[str, object] | None = None,
) -> Listed[Item]:
    """Return a page of a list, narrowed to rows with these values, too, and set its headers.

    Raises:
        ApiError: 422, the cursor is not of this list and sort.
    """
    sort, order = asked.sort, catalogue.orders[asked.sort]
    if asked.cursor is None:
        window = Window(order, asked.page_size, offset=asked.offset)
    else:
        keys = cursor_keys(asked.cursor, sort, list(order.columns.values()))
        window = Window(order, asked.page_size, after=keys)
    async with parts_of(request.scope).database.acquire() as db:
        narrowed = {**asked.narrowed(), **(equal or {})}
        found = await page(db, catalogue.source, window, narrowed, catalogue.bound)
    cursor = None if found.last is None else cursor_of(sort, found.last)
    set_headers(request, response, asked, found.total, cursor)
    return Listed(
        data=[catalogue.shown(row) for row in found.rows],
        total=found.total,
        page=asked.page,
        page_size=asked.page_size,
        total_is_estimate=found.is_estimate,
    )


def set_headers(
    request: Request, response: Response, asked: ListQuery, total: int, cursor: str | None
) -> None:
    """Tell the total and, when there is a cursor, the address of the next page."""
    response.headers["x-total-count"] = str(total)
    if cursor is not None:
        kept = [
            (name, value)
            for name, value in request.query_params.multi_items()
            if name not in ("page", "cursor")
        ]
        query = urlencode([*kept, ("page", str(asked.page + 1)), ("cursor", cursor)])
        response.headers["link"] = f'<{request.url.path}?{query}>; rel="next"'


def cursor_of(sort: str, keys: tuple[object, ...]) -> str:
    """Return the cursor of what follows a row."""
    texts = [key.isoformat() if isinstance(key, dt.date) else key for key in keys]
    return base64.urlsafe_b64encode(json.dumps([sort, *texts]).encode()).rstrip(b"=").decode()


def cursor_keys(cursor: str, sort: str, kinds: list[type[Key]]) -> tuple[Key, ...]:
    """Return the keys of a cursor.

    Raises:
        ApiError: 422.
    """
    try:
        found, *texts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if found != sort:
            raise no_cursor()
        return tuple(_key(text, kind) for text, kind in zip(texts, kinds, strict=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise no_cursor() from None


def _key(text: object, kind: type[Key]) -> Key:
    if kind is dt.datetime and isinstance(text, str):
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment
    elif kind is dt.date and isinstance(text, str):
        return dt.date.fromisoformat(text)
    elif kind is str and isinstance(text, str) and "\x00" not in text:
        text.encode()  # half of a surrogate pair is no text
        return text
    elif kind is int and type(text) is int and abs(text) <= _BIGGEST:
        return text
    raise no_cursor()


def no_cursor() -> ApiError:
    """Return the answer to a cursor that was made up, or comes from another list or sort."""
    return invalid("cursor", "It is not of this list and sort.")
