"""Printers: how they are in words, asked now, added, changed, held and let go on."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.changing import change, path_of, switch
from darkroom_api.console.page import Page, one_of
from darkroom_api.console.screen import screen
from darkroom_common.films.profiles import profiles
from darkroom_common.resources.declared import PRINTERS

_NEEDED: Final = ("host", "port", "ae_title", "profile")


async def show_printers(page: Page) -> Response:
    """Show printers and how they are."""
    found = await page.rest.get(PRINTERS.path, page=page.asked.get("page"), page_size=50)
    part = "printer_rows.html" if page.is_part else "printers.html"
    kinds = {name: one.description for name, one in profiles().items()}
    return page.render(part, found=found, kinds=kinds)


async def add_printer(page: Page) -> Response:
    """Add a printer."""
    form = await page.form()
    await page.rest.post(PRINTERS.path, {"name": one_of(form, "name"), **_spec(form)})
    return page.done("The printer is there. Ask it how it is before films are sent to it.")


async def edit_printer(page: Page) -> Response:
    """Change what the form has of a printer."""
    form = await page.form()
    await change(page, PRINTERS, form, _spec(form))
    return page.done("The printer is changed.")


async def hold_or_go(page: Page) -> Response:
    """Print nothing more on a printer for now, or let its films go on."""
    if await switch(page, PRINTERS):
        return page.done("Its films are printed again.")
    return page.done("Its films wait until it is released.")


async def ask(page: Page) -> Response:
    """Ask a printer now how it is."""
    said = await page.rest.post(path_of(PRINTERS, page.at("name")) + "/status")
    return page.done(f"{page.at('name')}: {said['meaning'] or said['reason']}")


async def remove_printer(page: Page) -> Response:
    """Remove a printer that nothing needs any more."""
    await page.rest.ask("DELETE", path_of(PRINTERS, page.at("name")))
    return page.done("The printer is removed.")


def _spec(form: dict[str, list[str]]) -> dict[str, Any]:
    spec: dict[str, Any] = {name: one_of(form, name) for name in _NEEDED}
    if form.get("calling_ae_title", [""])[0].strip():
        spec["calling_ae_title"] = form["calling_ae_title"][0].strip()
    return spec


def add(app: FastAPI) -> None:
    """Add the routes."""
    base = "/film/printers"
    screen(app, base, show_printers)
    screen(app, base, add_printer, "POST")
    for act, does in (("ask", ask), ("switch", hold_or_go), ("remove", remove_printer)):
        screen(app, f"{base}/{{name}}/{act}", does, "POST")
    screen(app, f"{base}/{{name}}", edit_printer, "POST")
