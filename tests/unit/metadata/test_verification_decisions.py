"""What counts as damage, and how the pace is kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from darkroom_common.dicom.part10 import FileMeta
from darkroom_metadata.verification.judgement import (
    Expected,
    FindingKind,
    Pace,
    Seen,
    is_settled,
    judge,
    judge_orphan,
    judge_size,
    reconciled_receipt,
)

EXPECTED = Expected(
    row_id=1,
    is_conflict=False,
    instance_id=1,
    object_key="p/s/e/i.aa.dcm",
    sha256="a" * 64,
    size=1000,
    data_set_offset=300,
    receipt="0" * 32,
    study_instance_uid="1.2",
    series_instance_uid="1.3",
    sop_instance_uid="1.4",
    sop_class_uid="1.5",
    transfer_syntax_uid="1.6",
    head_sha256="b" * 64,
)
HEAD = FileMeta("1.5", "1.4", "1.6", "SCANNER", "DARKROOM")
WELL = Seen(1300, head=HEAD, data_set_offset=300, sha256="a" * 64, head_sha256="b" * 64)
CONFLICT = replace(
    EXPECTED,
    is_conflict=True,
    data_set_offset=None,
    sop_class_uid=None,
    transfer_syntax_uid=None,
    head_sha256=None,
)
OLD = replace(EXPECTED, head_sha256=None)


def test_what_is_as_received_is_well() -> None:
    assert judge(EXPECTED, WELL) is None
    assert judge(CONFLICT, replace(WELL, data_set_offset=302, whole_size=1302)) is None
    assert judge(OLD, replace(WELL, head_sha256="c" * 64)) is None


@pytest.mark.parametrize(
    ("expected", "seen", "kind"),
    [
        (EXPECTED, Seen(None), "missing-object"),
        (EXPECTED, Seen(1299), "wrong-size"),
        (EXPECTED, Seen(1301), "wrong-size"),
        (CONFLICT, Seen(999), "wrong-size"),
        (EXPECTED, Seen(None, readable=False), "unreadable"),
        (EXPECTED, replace(WELL, sha256="c" * 64), "altered-object"),
        (EXPECTED, replace(WELL, sha256=None), "altered-object"),
        (EXPECTED, replace(WELL, head_sha256="c" * 64), "altered-object"),
        (EXPECTED, replace(WELL, head=None), "altered-object"),
        (OLD, replace(WELL, data_set_offset=298), "altered-object"),
        (OLD, replace(WELL, head=replace(HEAD, sop_instance_uid="1.40")), "altered-object"),
        (OLD, replace(WELL, head=replace(HEAD, sop_class_uid="1.50")), "altered-object"),
        (OLD, replace(WELL, head=replace(HEAD, transfer_syntax_uid="1.60")), "altered-object"),
        (CONFLICT, replace(WELL, head=replace(HEAD, sop_instance_uid="9")), "altered-object"),
    ],
)
def test_each_kind_of_damage(expected: Expected, seen: Seen, kind: str) -> None:
    assert judge(expected, seen) == kind


def test_sizes_alone_say_nothing_of_bytes() -> None:
    assert judge_size(EXPECTED, 1300) is None
    assert judge_size(CONFLICT, 5000) is None


def test_an_orphan_s_key_names_the_digest_of_its_bytes() -> None:
    key = f"p/s/e/1.4.{'ab' * 8}.dcm"
    assert judge_orphan(key, "ab" * 32) is FindingKind.ORPHAN
    assert judge_orphan(key, "ab" * 7 + "cd" * 25) is FindingKind.ALTERED


def test_the_receipt_of_a_repair_is_the_key_s() -> None:
    assert reconciled_receipt("a/b") == reconciled_receipt("a/b")
    assert reconciled_receipt("a/b") != reconciled_receipt("a/c")
    assert len(reconciled_receipt("a/b")) == 32


def test_the_grace_runs_from_when_the_object_came() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    hour = timedelta(hours=1)
    assert not is_settled(now - timedelta(minutes=59), now, hour)
    assert is_settled(now - hour, now, hour)


def test_the_pace_has_no_bursts_and_saves_up_no_idle_time() -> None:
    pace = Pace(100)
    assert pace.spend(50, now=0.0) == pytest.approx(0.5)
    assert pace.spend(50, now=0.5) == pytest.approx(0.5)
    assert pace.spend(10, now=0.5) == pytest.approx(0.6)  # owed from before
    assert pace.spend(100, now=1000.0) == pytest.approx(1.0)
    assert Pace(0).spend(1 << 40, now=0.0) == 0


def test_an_object_without_a_known_head_has_at_least_its_data_set() -> None:
    assert judge_size(CONFLICT, CONFLICT.size) is None
    assert judge_size(CONFLICT, CONFLICT.size - 1) is FindingKind.WRONG_SIZE
    assert judge_size(EXPECTED, 1301) is FindingKind.WRONG_SIZE
    assert judge_size(EXPECTED, None) is FindingKind.MISSING
