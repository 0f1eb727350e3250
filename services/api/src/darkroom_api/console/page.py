"""What a screen works with: REST as the person who asks, and a template to show the answer in."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from darkroom_api.accounts.access import ACCESS
from darkroom_api.accounts.guard import Principal
from darkroom_api.accounts.permissions import allows, has
from darkroom_api.console import words
from darkroom_api.console.assets import asset
from darkroom_api.console.menu import MENU, OWN
from darkroom_api.console.rest import Rest
from darkroom_api.desk.fence import fence_of
from darkroom_api.http.errors import ApiError, invalid
from darkroom_api.http.parts import parts_of

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
    " font-src 'self'; connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'self'"
)
_THEMES: Final = frozenset({"light", "dark"})
_FIELDS: Final = 2000


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("darkroom_api.console", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.globals.update(asset=asset)
    made.filters.update(words.FILTERS)
    return made


TEMPLATES: Final = _environment()


class Page:
    """A request for a page or a part of one.

    Attributes:
        request: as it came.
        rest: asks REST as the person who asks.
        told: the number of the last event before what the page shows was read; None if it does
            not matter. What happens from then on, also before the page listens, it hears of.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.rest = Rest(request)
        self.told: int | None = None

    @property
    def principal(self) -> Principal | None:
        """Who asks; None on a page for anybody."""
        found: Principal | None = self.request.scope.get("principal")
        return found

    @property
    def is_part(self) -> bool:
        """Tell whether htmx asks, for a part of a page that is open."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def asked(self) -> dict[str, str]:
        """The parameters of the query that are not empty, each once."""
        return {name: text for name, text in self.request.query_params.items() if text}

    def at(self, name: str) -> str:
        """Return a parameter of the path."""
        return str(self.request.path_params[name])

    def may(self, permission: str) -> bool:
        """Tell whether the person has a permission; what they have not is not offered."""
        return self.principal is not None and has(permission, self.principal.permissions)

    def may_open(self, path: str, method: str = "GET") -> bool:
        """Tell whether the person may ask for a path of the table."""
        access = ACCESS.get((method, path))
        return (
            access is not None
            and self.principal is not None
            and allows(access, self.principal.permissions)
        )

    async def form(self) -> dict[str, list[str]]:
        """Return the fields that were sent, each with its values.

        Raises:
            ApiError: 422, they are no form.
        """
        body = await self.request.body()
        try:
            pairs = parse_qsl(
                body.decode(), keep_blank_values=True, max_num_fields=_FIELDS, strict_parsing=False
            )
        except ValueError:
            raise invalid("body", "It is no form.") from None
        found: dict[str, list[str]] = {}
        for name, text in pairs:
            found.setdefault(name, []).append(text)
        return found

    def render(self, template: str, status: int = 200, /, **data: Any) -> Response:
        """Return a page, or a part of one, made by a template."""
        text = TEMPLATES.get_template(template).render({**self._common(), **data})
        return HTMLResponse(text, status, headers={"content-security-policy": POLICY})

    def done(self, sentence: str, *, changed: str = "changed") -> Response:
        """Return what a button has done: a sentence at the edge of the page.

        Args:
            sentence: for people, without anything of a patient.
            changed: the event of the page after which its live parts are asked for again.
        """
        said = {changed: True, "said": {"text": sentence}}
        return Response(status_code=204, headers={"hx-trigger": json.dumps(said)})

    def go(self, path: str) -> Response:
        """Have the browser open another page."""
        if self.is_part:
            return Response(status_code=204, headers={"hx-redirect": path})
        return RedirectResponse(path, 303)

    def refused(self, fault: ApiError) -> Response:
        """Return the page that says in words why there is no other."""
        answer = self.render("error.html", fault.status, fault=fault, title=words.refusal(fault))
        answer.headers.update(fault.headers)
        return answer

    def _common(self) -> dict[str, Any]:
        settings = parts_of(self.request.scope).settings
        theme = self.request.cookies.get("darkroom_theme", "")
        here = self.request.url.path
        lines = [(one, one.open_to(self.may_open)) for one in (*MENU, OWN)]
        return {
            "page": self,
            "environment": settings.environment,
            "fence": fence_of(settings),
            "theme": theme if theme in _THEMES else "",
            "here": here,
            "menu": [(one, pages) for one, pages in lines[:-1] if pages],
            "beside": next((pages for one, pages in lines if one.holds(here)), []),
            "may": self.may,
            "may_open": self.may_open,
        }


def query(asked: Mapping[str, Any], **changed: Any) -> str:
    """Return the query of the same page with some parameters changed; None leaves one out."""
    both = {**asked, **changed}
    return urlencode({name: value for name, value in both.items() if value not in (None, "")})


def one_of(form: Mapping[str, Sequence[str]], name: str) -> str:
    """Return the value of a field.

    Raises:
        ApiError: 422, it is missing or empty.
    """
    value = next(iter(form.get(name, ())), "").strip()
    if not value:
        raise invalid(name, "It is needed.")
    return value


def some_of(form: Mapping[str, Sequence[str]], name: str) -> list[str]:
    """Return the values of a field of which at least one is needed.

    Raises:
        ApiError: 422, there is none.
    """
    values = [one for one in form.get(name, ()) if one]
    if not values:
        raise invalid(name, "Choose at least one.")
    return values


TEMPLATES.globals.update(query=query)
