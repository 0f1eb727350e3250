"""Key images and presentation states of a study: chosen images, a form, a preview, an object."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.attributes import value
from darkroom_api.console.page import Page, one_of, some_of
from darkroom_api.console.screen import screen
from darkroom_api.http.errors import invalid
from darkroom_api.objects.structured.spec import TITLES

_MOST_IMAGES: Final = 200
_OBJECTS: Final = "/api/v1/objects"
_NO_IMAGES: Final = frozenset({"PR", "KO", "SR", "DOC", "SEG", "M3D"})
_TURNS: Final = ("0", "90", "180", "270")


async def show_marks(page: Page) -> Response:
    """Show the images of a study, of which some are chosen."""
    study = page.at("study")
    found = await page.rest.get(f"/dicom-web/studies/{study}/instances", limit=_MOST_IMAGES)
    images = [
        {
            "uid": value(one, "SOPInstanceUID"),
            "series": value(one, "SeriesInstanceUID"),
            "number": value(one, "InstanceNumber"),
        }
        for one in found or ()
        if value(one, "Rows") and value(one, "Modality") not in _NO_IMAGES
    ]
    return page.render(
        "marks.html", uid=study, images=images, titles=TITLES, turns=_TURNS, most=_MOST_IMAGES
    )


async def preview(page: Page) -> Response:
    """Show the first chosen image as the state would have it, drawn by the renderer."""
    asked = page.asked
    chosen = next(iter(page.request.query_params.getlist("image")), "").partition(":")
    window = _window(asked)
    return page.render(
        "marks_preview.html",
        uid=page.at("study"),
        series=chosen[0],
        image=chosen[2],
        window="" if window is None else f"{window['center']:g},{window['width']:g},LINEAR",
        inverted=asked.get("inverted") == "yes",
        flipped=asked.get("flipped") == "yes",
        rotation=asked.get("rotation", "0") if asked.get("rotation") in _TURNS else "0",
    )


def _window(asked: Mapping[str, str]) -> dict[str, float] | None:
    """Return the window that is asked for; None: that of the image.

    Raises:
        ApiError: 422, it is none.
    """
    center, width = asked.get("center", ""), asked.get("width", "")
    if not center and not width:
        return None
    try:
        found = {"center": float(center), "width": float(width)}
    except ValueError:
        raise invalid("width", "Centre and width are numbers, and go together.") from None
    if found["width"] < 1:
        raise invalid("width", "The width of a window is 1 or more.")
    return found


def _chosen(form: dict[str, list[str]]) -> list[str]:
    return [one.partition(":")[2] for one in some_of(form, "image")]


async def keep_key_images(page: Page) -> Response:
    """Have the chosen images kept as key images."""
    form = await page.form()
    body = {"study": page.at("study"), "images": _chosen(form), "title": one_of(form, "title")}
    if form.get("description", [""])[0]:
        body["description"] = form["description"][0]
    await page.rest.post(f"{_OBJECTS}/key-objects", body)
    return page.go(f"/study/{page.at('study')}")


async def keep_state(page: Page) -> Response:
    """Have a presentation state of the chosen images kept."""
    form = await page.form()
    plain = {name: texts[0] for name, texts in form.items()}
    body: dict[str, Any] = {
        "study": page.at("study"),
        "images": _chosen(form),
        "inverted": plain.get("inverted") == "yes",
        "flipped": plain.get("flipped") == "yes",
        "rotation": int(plain["rotation"]) if plain.get("rotation") in _TURNS else 0,
        "description": plain.get("description", ""),
    }
    window = _window(plain)
    if window is not None:
        body["window"] = window
    if plain.get("text"):
        body["annotations"] = [{"text": plain["text"], "at": [1, 1]}]
    await page.rest.post(f"{_OBJECTS}/presentation-state", body)
    return page.go(f"/study/{page.at('study')}")


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/study/{study}/marks", show_marks)
    screen(app, "/study/{study}/marks/preview", preview)
    screen(app, "/study/{study}/marks/key-images", keep_key_images, "POST")
    screen(app, "/study/{study}/marks/state", keep_state, "POST")
