"""Rows of the audit log: their ids, what they keep of hostile text, and the codes over them."""

import base64
import datetime as dt
import json
import uuid
from dataclasses import fields, replace
from ipaddress import ip_address
from typing import Any

import pytest

from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import (
    MAC_BYTES,
    AuditKeys,
    Entry,
    Row,
    address_in,
    first_id_at,
    id_at,
    row_of,
)
from darkroom_common.postgres.phi import PhiKeys

NOW = dt.datetime(2026, 11, 26, 14, 30, 0, 123456, dt.UTC)
THE_TWELVE = (
    "AUTH_LOGIN AUTH_LOGOUT AUTH_FAILED STUDY_READ STUDY_UPDATE STUDY_DELETE EXPORT_CREATE"
    " BULK_UPDATE USER_CREATE USER_UPDATE USER_DELETE PERMISSION_CHANGE"
)


def keys(current: int = 1) -> AuditKeys:
    made = {str(n): base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2)}
    return AuditKeys(PhiKeys.parse(json.dumps({"current": current, "keys": made})))


def a_row() -> Row:
    entry = Entry(
        Action.STUDY_UPDATE,
        "study",
        "1.2.3",
        "u-1",
        "anna",
        ip_address("10.1.2.3"),
        "curl/8",
        details={"field": "exam_status"},
        phi={"new": "MEYER^ANNA"},
    )
    return row_of(entry, NOW)


def test_the_twelve_events_of_002_are_there() -> None:
    assert set(THE_TWELVE.split()) <= {action.value for action in Action}


def test_ids_are_uuids_of_version_7_and_sort_by_time() -> None:
    moments = [NOW + dt.timedelta(microseconds=n) for n in range(100)]
    made = [id_at(moment) for moment in moments]
    assert made == sorted(made)
    assert {(one.version, one.variant) for one in made} == {(7, uuid.RFC_4122)}
    assert len({id_at(NOW) for _ in range(1000)}) == 1000
    assert all(first_id_at(moment) <= one for moment, one in zip(moments, made, strict=True))
    assert made[0] < first_id_at(moments[1])


OTHER: dict[str, Any] = {
    "log_id": id_at(NOW),
    "recorded_at": NOW + dt.timedelta(microseconds=1),
    "ip_address": None,
    "privileged": True,
    "phi": b"",
}


@pytest.mark.parametrize("column", [one.name for one in fields(Row)])
def test_the_code_covers_every_column(column: str) -> None:
    row, made = a_row(), keys()
    changed = replace(row, **{column: OTHER.get(column, "other")})
    assert made.is_row(row, 1, made.row(row))
    assert not made.is_row(changed, 1, made.row(row))


def test_columns_cannot_be_moved_into_each_other() -> None:
    row, made = a_row(), keys()
    moved = replace(row, user_id="u-1a", username="nna")
    assert made.row(moved) != made.row(row)


def test_an_older_key_still_checks_and_another_does_not() -> None:
    row = a_row()
    code = keys(1).row(row)
    assert keys(2).is_row(row, 1, code)
    assert not keys(2).is_row(row, 2, code)
    assert not keys(2).has(3)


def test_hostile_text_is_kept_in_a_form_that_can_be_stored() -> None:
    entry = Entry(Action.ACCESS_DENIED, user_agent="\x00\ud800" + "x" * 9999, resource_id="y" * 999)
    row = row_of(entry, NOW)
    assert row.user_agent == ""
    assert json.loads(row.phi) == {"user_agent": "\ufffd?" + "x" * 510}
    assert len(row.resource_id) == 128
    assert keys().row(row)


def test_addresses_of_clients() -> None:
    assert address_in("fe80::1%eth0") == ip_address("fe80::1")
    assert address_in("::ffff:10.1.2.3") == ip_address("10.1.2.3")
    assert address_in("unknown") is None


@pytest.mark.parametrize(
    ("agent", "clear"),
    [
        ("python-httpx/0.27.0", "python-httpx/0.27.0"),
        ("curl/8.5.0", "curl/8.5.0"),
        (
            "Mozilla/5.0 (X11; Linux; MEYER^ANNA) AppleWebKit/537.36 Chrome/120.0 Safari/537.36",
            "Mozilla/5.0 AppleWebKit/537.36 Chrome/120.0 Safari/537.36",
        ),
        ("Darkroom-Console curl/8.5.0", "Darkroom-Console curl/8.5.0"),
        ("MEYER^ANNA curl/8 curl/19620305x 1962-03-05", "curl/8"),
        ("", ""),
    ],
)
def test_only_known_products_stay_of_what_a_client_calls_itself(agent: str, clear: str) -> None:
    row = row_of(Entry(Action.STUDY_READ, user_agent=agent, phi={"name": "x"}), NOW)
    assert row.user_agent == clear
    sealed = {} if agent == clear else {"user_agent": agent}
    assert json.loads(row.phi) == {"name": "x", **sealed}


def test_the_code_is_over_what_it_was_over_when_the_row_was_written() -> None:
    """Rows of ten years ago are checked by this code: its form may not change unnoticed."""
    row = replace(a_row(), log_id=uuid.UUID(int=5), phi=b"\x01")
    with_one = json.loads(row.covered(1))
    assert with_one == [
        1,
        1,
        uuid.UUID(int=5).hex,
        "2026-11-26T14:30:00.123456+00:00",
        "u-1",
        "anna",
        "STUDY_UPDATE",
        "study",
        "1.2.3",
        "10.1.2.3",
        "curl/8",
        False,
        "success",
        '{"field":"exam_status"}',
        "01",
    ]
    without = json.loads(replace(row, ip_address=None).covered(1))
    assert without == [*with_one[:9], "", *with_one[10:]]


def test_an_id_says_its_moment_as_the_standard_has_it() -> None:
    """RFC 9562 section 5.7: 48 bits of milliseconds, the version, 12 bits of what is finer."""
    first = first_id_at(NOW)
    assert first.int >> 80 == int(NOW.timestamp() * 1000)
    assert first.int >> 64 & 0xFFF == 456 * 4096 // 1000
    assert first.int & (1 << 62) - 1 == 0
    assert first.int >> 62 & 0b11 == 0b10
    assert id_at(NOW).int >> 62 == first.int >> 62
    assert first_id_at(dt.datetime(1960, 1, 1, tzinfo=dt.UTC)).int >> 80 == 0, "none is before 1970"


def test_each_text_is_kept_up_to_its_column() -> None:
    long = Entry(Action.STUDY_READ, "r" * 999, "i" * 999, "u" * 999, "n" * 999)
    row = row_of(long, NOW)
    lengths = [len(one) for one in (row.resource_type, row.resource_id, row.user_id, row.username)]
    assert lengths == [100, 128, 50, 150]
    assert len(keys().row(row)) == MAC_BYTES
