"""The pages keep to what the oldest browsers know: Chrome and Edge 90, Firefox 88, Safari 14."""

import re
from importlib.resources import files
from types import SimpleNamespace
from typing import Final

import pytest

from darkroom_api.console.page import TEMPLATES

_STATIC: Final = files("darkroom_api.console") / "static"
_NEWER: Final = {
    "a method of arrays and texts of 2021": r"\.(at\(-|findLast|replaceAll\(|toSorted|toReversed)",
    "Object.groupBy, Object.hasOwn, structuredClone": r"\b(groupBy|hasOwn|structuredClone)\b",
    "requestSubmit, submitter": r"\b(requestSubmit|submitter)\b",
    "a logical assignment": r"(\?\?|\|\||&&)=",
    "a private field, a static block": r"\bthis\.#|\bstatic \{",
    "an await outside of a function": r"^await ",
    "nested rules, :has, layers, containers": r"^\s*&|:has\(|@layer|@container|@scope",
    "units of 2022": r"\d(dvh|svh|lvh|dvw|cqw)\b",
    "the attribute inert, a popover": r"\b(inert|popover)\b",
}


@pytest.mark.req("API-17")
@pytest.mark.parametrize(
    "name", ["console.js", "film.js", "upload.js", "sign_in.js", "viewer_config.js", "console.css"]
)
def test_nothing_is_newer(name: str) -> None:
    text = (_STATIC / name).read_text("utf-8")
    found = {what for what, pattern in _NEWER.items() if re.search(pattern, text, re.MULTILINE)}
    assert found == set()


def test_what_is_newer_has_another_way() -> None:
    texts = {one.name: one.read_text("utf-8") for one in _STATIC.iterdir() if one.is_file()}
    assert "if (dialog.showModal)" in texts["console.js"]
    assert "!window.DecompressionStream" in texts["upload.js"]
    assert "@supports not (aspect-ratio: 1) { .box" in texts["console.css"]
    for word in ("showModal", "color-mix"):
        lines = [line for text in texts.values() for line in text.splitlines() if word in line]
        assert len(lines) == 1, word
    (hover,) = (line for line in texts["console.css"].splitlines() if "color-mix" in line)
    assert hover.count("background:") == 2


@pytest.mark.parametrize("provider", [False, True])
def test_another_organisation_is_offered_where_there_is_one(provider: bool) -> None:
    page = TEMPLATES.get_template("sign_in.html").render(
        page=SimpleNamespace(told=None), theme="", environment="", fence="", provider=provider
    )
    assert ("/api/v1/auth/oidc/login" in page) is provider
