"""What the pages say of the code is so."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from dicomweb_client.api import DICOMwebClient
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter

from darkroom_api.http.errors import Code
from tests.support import log_events
from tests.support.application import an_app
from tests.support.deployed import ROOT

CONTRIBUTING: Final = (ROOT / "docs" / "contributing.md").read_text()
DICOMWEB: Final = (ROOT / "docs" / "dicomweb.md").read_text()
POINTS: Final = 44
CLIENTS: Final = ("test_api_retrieve.py", "storing/test_changes.py")
REST: Final = (ROOT / "docs" / "rest.md").read_text()
TYPED: Final = ("README.md", "docs/rest.md", "docs/transmit.md", "docs/print.md")
PAGES: Final = ("README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
ACCURACY: Final = 0.15
_PATH: Final = re.compile(r"`((?:libs|services|tests|docs|infra)/[^`\s]+)`")
_QUOTED: Final = re.compile(r"^From `([^`]+)`:\n```\w+\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
_COUNTED: Final = re.compile(r"^\| `([^`]+)` \|(?: (?:`(\w+)` )?\|)? (\d+) \|$", re.MULTILINE)
_ROW: Final = re.compile(r"^\| ([^|]+) \| (?:([^|]+) \| )?([^|]*) \|$", re.MULTILINE)
_TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_LINK: Final = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)")
_HERE: Final = "http://127.0.0.1:8080"
_SHELL: Final = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_file_that_is_named_is_there() -> None:
    named = {path for path in _PATH.findall(CONTRIBUTING) if "<" not in path}
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    missing = []
    for path, anchor in _LINK.findall((ROOT / page).read_text()):
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(path + anchor)
    assert missing == []


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_what_is_quoted_stands_in_its_file() -> None:
    quoted = _QUOTED.findall(CONTRIBUTING)
    assert len(quoted) == CONTRIBUTING.count("```") // 2 > 0
    assert [path for path, text in quoted if text not in (ROOT / path).read_text()] == []


def test_what_is_counted_is_so() -> None:
    counted = _COUNTED.findall(CONTRIBUTING)
    assert len(counted) == 8
    for path, part, claimed in counted:
        lines = lines_of(ROOT / path, part)
        assert abs(lines - int(claimed)) <= max(2, ACCURACY * lines), f"{path} {part}: {lines}"


def lines_of(path: Path, part: str) -> int:
    """Return the lines of a file, or of what it assigns to a name."""
    text = path.read_text()
    if not part:
        return len(text.splitlines())
    for node in ast.parse(text).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == part:
            return (node.end_lineno or 0) - node.lineno + 1
    raise LookupError(f"{path} has no {part}")


def rows_after(title: str) -> list[tuple[str, str, str]]:
    """Return what stands in the three, or two, columns of the table behind a heading."""
    behind = DICOMWEB.split(f"## {title}\n")[1].split("\n## ")[0]
    return _ROW.findall(behind)[1:]


def test_every_point_of_dicomweb_has_tests_or_says_that_it_is_to_come() -> None:
    points = rows_after("The 44 points of PACS communication")
    numbers = [int(n) for name, _, _ in points for n in re.findall(r"\d+", name)]
    assert sorted(numbers) == list(range(1, POINTS + 1))
    for name, where, tests in points + rows_after("What clients of other archives trip over"):
        named = _TEST.findall(tests)
        assert bool(named) != (where == "not yet"), name
        for path, test in named:
            assert re.search(rf"def {test}\(", (ROOT / path).read_text()), (name, test)


def test_every_method_of_dicomweb_client_is_called() -> None:
    api = ROOT / "tests" / "integration" / "api"
    used = "".join((api / name).read_text() for name in CLIENTS)
    methods = {
        name for name in dir(DICOMwebClient) if re.match("search|retrieve|iter|sto|del", name)
    }
    assert len(methods) > 20
    assert [name for name in sorted(methods) if f"client.{name}" not in used] == []


def test_the_page_has_every_code() -> None:
    named = re.findall(r"^\| (\d{4}) \| ([A-Z_]+) \|", REST, re.MULTILINE)
    assert named == [(str(int(code)), code.name) for code in Code]


class Call(NamedTuple):
    """A request that a page has people type."""

    method: str
    path: str
    query: dict[str, str]
    body: str | None


def statements(text: str) -> Iterator[list[str]]:
    """Split what is typed into words; a line goes on as long as a quotation is open."""
    begun = ""
    for line in text.replace("\\\n", " ").splitlines():
        begun += line + "\n"
        try:
            words = shlex.split(begun, comments=True)
        except ValueError:
            continue
        yield words
        begun = ""
    assert not begun


def calls(page: str) -> Iterator[Call]:
    """Find what a page asks of the API."""
    text = "".join(_SHELL.findall((ROOT / page).read_text()))
    for words in statements(text.replace("$A/", f"{_HERE}/api/v1/")):
        for address in (urlsplit(word) for word in words if word.startswith(_HERE)):
            following = dict(pairwise(words))
            body = following.get("-d")
            method = following.get("-X") or ("GET" if body is None else "POST")
            yield Call(method, address.path, dict(parse_qsl(address.query)), body)


@pytest.mark.parametrize("page", TYPED)
def test_what_people_are_to_type_is_understood(page: str) -> None:
    typed = list(calls(page))
    assert typed
    for one in typed:
        route = route_of(one)
        if "dicom-web" not in one.path:
            assert one.query.keys() <= parameters(route), one
        if one.body is not None:
            assert route.body_field is not None, one
            model: Any = route.body_field.field_info.annotation
            TypeAdapter(model).validate_json(one.body)


@cache
def routes() -> list[APIRoute]:
    return [route for route in an_app().routes if isinstance(route, APIRoute)]


def route_of(call: Call) -> APIRoute:
    for route in routes():
        if call.method in (route.methods or ()) and route.path_regex.match(call.path):
            return route
    raise LookupError(f"no route takes {call.method} {call.path}")


def parameters(route: APIRoute) -> set[str]:
    """Return the names of what a route takes in its query."""
    found: set[str] = set()
    for field in route.dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= kind.model_fields.keys()
        else:
            found.add(field.alias)
    return found


def test_the_page_of_log_events_is_made_of_the_code() -> None:
    assert log_events.parts()[1] == log_events.render(), "make log-events"
