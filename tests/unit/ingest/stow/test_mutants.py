"""Mutants of bodies: each ends in an outcome of the documented set, and nothing stored is lost.

`DARKROOM_STOW_MUTANTS` says how many of each kind; `make fuzz` takes 10,000 in all.
"""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom_ingest.stow.body import NotTaken
from tests.support.builders import a_data_set
from tests.support.mutation import a_seed, mutated
from tests.support.stow import TYPE, Part, a_body, a_file
from tests.unit.ingest.stow.bodies import Taking
from tests.unit.ingest.stow.test_described import KIND, as_part, bulk, described
from tests.unit.ingest.stow.test_encoding import XML

CASES = int(os.environ.get("DARKROOM_STOW_MUTANTS", "150"))
FAILURES = {0, 0x0122, 0xA700, 0xA900, 0xA901, 0xC000, 0xC122}


def objects() -> tuple[bytes, str]:
    return a_body([a_file(a_data_set()), a_file(a_data_set())]), TYPE


def metadata() -> tuple[bytes, str]:
    parts = [as_part(described(), described(NumberOfFrames=2)), bulk(b"\xff\xd8\xff\xc0" * 9)]
    return a_body([*parts, bulk(b"x", "image/jpeg")]), KIND


def document() -> tuple[bytes, str]:
    parts = [Part(XML, "application/dicom+xml"), bulk(b"ab", location="there")]
    return a_body(parts), KIND.replace("+json", "+xml")


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    made = Taking(tmp_path)
    yield made
    made.spool.close()


@pytest.mark.parametrize("whole", [objects, metadata, document])
def test_mutants_end_in_an_outcome(taking: Taking, whole: object) -> None:
    assert callable(whole)
    chance = random.Random(a_seed())
    body, kind = whole()
    stored = 0
    for case in range(CASES):
        mutant = mutated(chance, body)
        said = kind if chance.random() < 0.9 else mutated(chance, kind.encode()).decode("latin-1")
        try:
            outcome = taking.take(mutant, said, chance.choice((7, 100, 65536)))
        except NotTaken as error:
            assert error.status in (400, 415)
            continue
        assert {one.failure for one in outcome.items} <= FAILURES, case
        good = [one for one in outcome.items if not one.failure]
        assert len(good) == len(taking.receipts), case
        for one, receipt in zip(good, taking.receipts, strict=True):
            assert taking.kept(one.sop_instance_uid)[0] == receipt.transfer_syntax_uid
        stored += len(good)
        json.loads(outcome.model_dump_json())
        taking.forget()
    assert stored or whole is document
