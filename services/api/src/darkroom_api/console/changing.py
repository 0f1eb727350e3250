"""Change what people configure under a name: what a form does not show stays as it is."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from darkroom_api.console.page import Page, one_of
from darkroom_common.resources.resource import Resource


def path_of(resource: Resource[Any], name: str) -> str:
    """Return the path of one of a resource in REST."""
    return f"{resource.path}/{quote(name, safe='')}"


async def spec_of(page: Page, resource: Resource[Any], name: str) -> dict[str, Any]:
    """Return the spec of one as it is now.

    Raises:
        Refused: there is none, or it may not be seen.
    """
    now = await page.rest.get(path_of(resource, name))
    return {field: now[field] for field in resource.spec.model_fields if field in now}


async def change(
    page: Page, resource: Resource[Any], form: dict[str, list[str]], given: Mapping[str, Any]
) -> None:
    """Change fields of the one that the path of a page names, unless somebody else has meanwhile.

    Args:
        page: whose path has its `name`.
        resource: what it is.
        form: with the `version` that was looked at.
        given: the fields that change.

    Raises:
        Refused: REST does not take the change.
        ApiError: 422, the form has no version.
    """
    name = page.at("name")
    body = {**await spec_of(page, resource, name), **given}
    match = {"if-match": f'"{one_of(form, "version")}"'}
    await page.rest.ask("PUT", path_of(resource, name), body=body, more=match)


async def switch(page: Page, resource: Resource[Any]) -> bool:
    """Hold one, or let it go on; return whether it goes on now."""
    form = await page.form()
    goes_on = one_of(form, "enabled") == "yes"
    await change(page, resource, form, {"enabled": goes_on})
    return goes_on
