"""The name by which a study is told leads back to it."""

import pytest

from darkroom_api.accounts.access import ACCESS
from darkroom_api.app import described
from darkroom_api.edge.directory import Directory
from darkroom_api.studies.exam_id import TAKEN, TAKEN_ENDS, exam_id_of

UID = "1.2.840.1"


@pytest.mark.parametrize("number", ["A-1", "2026/17", "searches", "bulk", "..A", "a..b", "ü 1"])
def test_an_accession_number_is_the_name(number: str) -> None:
    assert exam_id_of(UID, number) == number


@pytest.mark.parametrize(
    "number",
    [
        "",
        "a/recall",
        "search",
        "filters",
        "export",
        "bulk/update-status",
        ".",
        "..",
        "a/../b",
        "1" * 65,
    ],
)
def test_one_that_a_path_cannot_hold_gives_way_to_the_uid(number: str) -> None:
    assert exam_id_of(UID, number) == UID


def test_what_stands_for_something_else_in_a_path_is_known() -> None:
    before = "/api/v1/studies/"
    paths = {path.removeprefix(before) for _, path in ACCESS if path.startswith(before)}
    assert {path for path in paths if "{" not in path} == TAKEN
    ends = {path.partition("}")[2] for path in paths if path.startswith("{")}
    assert ends - {""} == set(TAKEN_ENDS)


@pytest.mark.parametrize("name", ["0", "a/b"])
def test_a_path_of_something_of_a_study_is_of_no_study(name: str) -> None:
    directory = Directory(described())
    for method, path, found in (
        ("PATCH", f"{name}/recall", False),
        ("GET", f"{name}/recall", False),
        ("POST", f"{name}/recall", True),
        ("PATCH", f"{name}/recalled", True),
        ("GET", "recall", True),
    ):
        scope = {"type": "http", "method": method, "path": f"/api/v1/studies/{path}", "headers": []}
        assert (directory.find(scope) is not None) == found, (method, path)
