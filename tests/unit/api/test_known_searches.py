"""Answers to searches that are kept: which, how long, and of what."""

import pytest

from darkroom_api.dicomweb.searching import known
from darkroom_api.dicomweb.searching.known import Kept, KnownSearches, key_of
from darkroom_api.dicomweb.searching.parameters import parse_search
from darkroom_common.index.fields import Level
from darkroom_common.index.rows import Versions


def kept(uid: str, body: bytes = b"[]") -> Kept:
    return Kept(Versions(uid, (1,), (2, 3)), body, {"etag": "x"})


def test_what_is_asked_for_again_is_kept_until_it_does_not_hold() -> None:
    searches = KnownSearches()
    assert not searches.is_asked_again(b"a")
    assert searches.recall(b"a") is None
    assert searches.is_asked_again(b"a")
    one, other = kept("1.2"), kept("1.3")
    searches.keep(b"a", one)
    searches.keep(b"b", kept("1.2"))
    searches.keep(b"c", other)
    assert searches.recall(b"a") == one
    searches.forget(one.versions)
    assert (searches.recall(b"a"), searches.recall(b"b")) == (None, None)
    assert searches.recall(b"c") == other
    assert not searches.is_asked_again(b"a")


def test_it_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "KEPT", 100)
    monkeypatch.setattr(known, "LARGEST", 60)
    monkeypatch.setattr(known, "ASKED", 4)
    searches = KnownSearches()
    searches.keep(b"large", kept("1.1", b"x" * 61))
    assert searches.recall(b"large") is None
    searches.keep(b"a", kept("1.2", b"x" * 60))
    searches.keep(b"a", kept("1.2", b"y" * 60))  # in its own place
    searches.keep(b"b", kept("1.3", b"x" * 40))
    assert searches.recall(b"a") == kept("1.2", b"y" * 60)
    searches.keep(b"c", kept("1.4", b"x" * 10))  # the one that was asked for longest ago goes
    assert searches.recall(b"b") is None
    assert None not in (searches.recall(b"a"), searches.recall(b"c"))
    for number in range(4):
        searches.is_asked_again(b"%d" % number)
    assert (searches.recall(b"a"), searches.recall(b"c")) == (None, None)


def test_a_key_is_of_all_that_an_answer_depends_on() -> None:
    def scope(path: str, query: bytes = b"") -> dict[str, object]:
        return {"path": path, "query_string": query}

    keys = {
        key_of("http://a", scope("/studies"), "json"),
        key_of("http://b", scope("/studies"), "json"),
        key_of("http://a", scope("/series"), "json"),
        key_of("http://a", scope("/studies", b"limit=1"), "json"),
        key_of("http://a", scope("/studies"), "xml"),
    }
    assert len(keys) == 5


@pytest.mark.parametrize(
    ("level", "items", "study", "found"),
    [
        (Level.STUDY, [("StudyInstanceUID", "1.2")], None, "1.2"),
        (Level.STUDY, [("0020000D", "1.2"), ("limit", "3"), ("offset", "1")], None, "1.2"),
        (Level.SERIES, [("includefield", "all")], "1.2", "1.2"),
        (Level.SERIES, [("StudyInstanceUID", "1.2")], "1.3", None),
        (Level.STUDY, [("StudyInstanceUID", "1.2,1.3")], None, None),
        (Level.STUDY, [("StudyInstanceUID", "1.2"), ("PatientName", "A*")], None, None),
        (Level.STUDY, [], None, None),
        (Level.SERIES, [("Modality", "CT")], "1.2", None),
        (Level.INSTANCE, [], "1.2", None),
        (Level.PATIENT, [], None, None),
    ],
)
def test_searches_of_one_study(
    level: Level, items: list[tuple[str, str]], study: str | None, found: str | None
) -> None:
    query = parse_search(items, level, below=(study, None), most=100).query
    assert query.only_study == found
