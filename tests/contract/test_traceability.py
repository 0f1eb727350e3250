"""The page of requirements and their tests is what the marks say."""

from tests.support.traceability import PAGE, render


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make traceability`"
