"""Who may open an association, and what it may store."""

import dataclasses
import json
import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_common.dimse.wire.command import CommandField
from darkroom_ingest.senders import roster as roster_module
from darkroom_ingest.senders.admission import (
    Absence,
    CalledTitle,
    Caller,
    Denied,
    HostRule,
    Permit,
    Policy,
    Roster,
    Sender,
    decide,
)
from darkroom_ingest.senders.roster import (
    BrokenRoster,
    Doorkeeper,
    RosterCopy,
    Standing,
    as_json,
    parse_roster,
)
from tests.support.builders import CT

LISTED = Policy("DARKROOM", require_called=True, accept_unknown=False)
OPEN = Policy("DARKROOM", require_called=False, accept_unknown=True)
NEARBY = Policy("DARKROOM", require_called=False, accept_unknown=True, only_nearby=True)
DIGEST = "ab" * 32
MR = "1.2.840.10008.5.1.4.1.1.4"


def a_sender(ae_title: str = "CT1", **changes: Any) -> Sender:
    given = {
        "ae_title": ae_title,
        "enabled": True,
        "description": "",
        "host_rule": "any",
        "hosts": (),
        "sop_class_rule": "any",
        "sop_class_uids": (),
        "max_associations": None,
    }
    return Sender(**{**given, **changes})


def hosts(*networks: str, digest: str | None = None) -> dict[str, Any]:
    rules = tuple(HostRule(ip_network(one), digest) for one in networks)
    return {"host_rule": "listed", "hosts": rules}


def verdict(
    roster: Roster | Absence,
    calling: str = "CT1",
    called: str = "DARKROOM",
    *,
    policy: Policy = LISTED,
    host: str = "10.0.0.5",
    digest: str = "",
) -> Permit | Denied:
    return decide(Caller(calling, called, host, digest), policy, roster)


def test_only_who_is_listed_and_only_who_calls_us() -> None:
    roster = Roster(
        (
            CalledTitle("ARCHIVE", enabled=True, description=""),
            CalledTitle("OLD", enabled=False, description=""),
        ),
        (a_sender(), a_sender("CT2", enabled=False)),
    )
    assert verdict(roster) == Permit()
    assert verdict(roster, called="ARCHIVE") == Permit()
    for called in ("OLD", "OTHER", "darkroom", "DARKROOM\n", ""):
        assert verdict(roster, called=called) is Denied.CALLED
    for calling in ("ct1", "CT", "CT11", "", "CT1\n", "CT1\x1b[31m", "CT1\xe9", "A\\B"):
        assert verdict(roster, calling) is Denied.CALLING
    assert verdict(roster, "CT2") is Denied.DISABLED


def test_open_to_strangers_is_not_open_to_whom_a_rule_keeps_out() -> None:
    roster = Roster((), (a_sender(enabled=False), a_sender("CT2", **hosts("10.1.0.0/16"))))
    assert verdict(roster, "ANY", "ANY", policy=OPEN) == Permit()
    assert verdict(roster, "CT1", policy=OPEN) is Denied.DISABLED
    assert verdict(roster, "CT2", policy=OPEN) is Denied.HOST
    assert verdict(roster, "CT\n", policy=OPEN) is Denied.CALLING


def test_without_a_list() -> None:
    assert verdict(Absence.NEVER_READ) is Denied.NO_ROSTER
    assert verdict(Absence.UNREADABLE) is Denied.NO_ROSTER
    assert verdict(Absence.NEVER_READ, policy=OPEN) == Permit()
    assert verdict(Absence.UNREADABLE, policy=OPEN) is Denied.NO_ROSTER


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("10.0.0.1", True),
        ("10.0.1.1", False),
        ("192.168.7.7", True),
        ("192.168.7.8", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:10.0.1.1", False),
        ("fe80::1%eth0", True),
        ("2001:db8::1", False),
    ],
)
def test_hosts(host: str, inside: bool) -> None:
    roster = Roster((), (a_sender(**hosts("10.0.0.0/24", "192.168.7.7", "fe80::/10")),))
    assert (verdict(roster, host=host) == Permit()) is inside


def test_listed_hosts_that_are_gone_are_nobody() -> None:
    assert verdict(Roster((), (a_sender(host_rule="listed"),))) is Denied.HOST


def test_a_certificate_is_asked_for() -> None:
    roster = Roster((), (a_sender(**hosts("10.0.0.0/8", digest=DIGEST)),))
    assert verdict(roster, digest=DIGEST) == Permit()
    assert verdict(roster, digest="") is Denied.HOST
    assert verdict(roster, digest="cd" * 32) is Denied.HOST


def test_the_most_precise_rule_decides() -> None:
    roster = Roster(
        (),
        (
            a_sender("*", max_associations=1),
            a_sender("CT*", max_associations=2),
            a_sender("CT?", max_associations=3),
            a_sender("CT??X", max_associations=4),
            a_sender("CT1", enabled=False),
        ),
    )
    found = {title: verdict(roster, title) for title in ("MR", "CT", "CT2", "CT22", "CTABX", "CT1")}
    assert {t: p.max_associations if isinstance(p, Permit) else p for t, p in found.items()} == {
        "MR": 1,
        "CT": 2,
        "CT2": 3,
        "CT22": 2,
        "CTABX": 4,
        "CT1": Denied.DISABLED,
    }


@given(st.text(st.sampled_from("AB[].+^$|(){}"), min_size=1, max_size=16))
def test_a_title_without_wildcards_fits_itself_only(title: str) -> None:
    assert a_sender(title).fits(title)
    assert not a_sender(title).fits(title + "A")
    assert a_sender(f"{title[:15]}*").fits(title)


def test_sop_classes() -> None:
    only = verdict(Roster((), (a_sender(sop_class_rule="only", sop_class_uids=(CT,)),)))
    all_but = verdict(Roster((), (a_sender(sop_class_rule="not", sop_class_uids=(CT,)),)))
    nothing = verdict(Roster((), (a_sender(sop_class_rule="only"),)))
    assert isinstance(only, Permit)
    assert isinstance(all_but, Permit)
    assert isinstance(nothing, Permit)
    assert (only.allows(CT), only.allows(MR)) == (True, False)
    assert (all_but.allows(CT), all_but.allows(MR)) == (False, True)
    assert (nothing.allows(CT), nothing.allows(MR)) == (False, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"ae_title": ""},
        {"ae_title": "SEVENTEEN-LETTERS"},
        {"ae_title": " CT"},
        {"ae_title": "C\\T"},
        {"ae_title": "CT\n"},
        {"sop_class_uids": ("CT",)},
        {"max_associations": 0},
    ],
)
def test_senders_that_make_no_sense(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"AE title|SOP class|limit"):
        a_sender(**changes)


def test_what_is_not_whole_is_no_list() -> None:
    whole = as_json(a_sender(**hosts("10.0.0.0/8")))
    assert whole["hosts"] == [{"network": "10.0.0.0/8", "certificate_sha256": None}]
    for broken in (
        "",
        "{",
        "[]",
        "null",
        '{"called": [], "senders": [{}]}',
        '{"called": []}x',
        '{"called": [], "senders": [{"ae_title": "CT\\n", "host_rule": "any"}]}',
    ):
        with pytest.raises(BrokenRoster):
            parse_roster(broken)


def test_a_sender_of_a_later_version_is_rejected_alone() -> None:
    later = {**as_json(a_sender(ae_title="CT1")), "host_rule": "by-name", "names": ["ct1"]}
    known = {**as_json(a_sender(ae_title="CT2")), "shift": "night"}
    everyone = as_json(a_sender(ae_title="CT*"))
    roster = parse_roster(json.dumps({"called": [], "senders": [later, known, everyone]}))
    assert roster.senders[1] == a_sender(ae_title="CT2")

    def told(ae_title: str) -> Permit | Denied:
        return decide(Caller(ae_title, "DARKROOM", "10.0.0.1"), LISTED, roster)

    assert told("CT1") is Denied.DISABLED  # not admitted by the pattern instead
    assert isinstance(told("CT2"), Permit)
    assert isinstance(told("CT3"), Permit)


def test_the_first_list_is_in_force_as_soon_as_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "senders.json"
    gate = Doorkeeper(RosterCopy(path), LISTED)
    assert gate.decide(Caller("CT1", "DARKROOM", "::1")) is Denied.NO_ROSTER
    RosterCopy(path).put(Roster((), (a_sender(),)))
    assert isinstance(gate.decide(Caller("CT1", "DARKROOM", "::1")), Permit)


def test_the_copy_keeps_the_last_good_list(tmp_path: Path) -> None:
    path = tmp_path / "senders.json"
    copy = RosterCopy(path)
    gate = Doorkeeper(copy, LISTED)
    assert gate.decide(Caller("CT1", "DARKROOM", "::1")) is Denied.NO_ROSTER
    RosterCopy(path).put(Roster((), (a_sender(),)))
    assert [one.name for one in tmp_path.iterdir()] == ["senders.json"]
    gate.look()
    standing = Standing(gate, Caller("CT1", "DARKROOM", "::1"))
    assert standing.may(CommandField.C_STORE, CT)
    good = path.read_bytes()
    for broken in (b"", good[:-2], b"\xff" * 100):
        path.write_bytes(broken)
        gate.look()
        assert standing.may(CommandField.C_STORE, CT)
        assert RosterCopy(path).roster is Absence.UNREADABLE
    path.unlink()
    gate.look()
    assert standing.may(CommandField.C_STORE, CT)
    copy.keep()
    assert RosterCopy(path).roster == copy.roster
    copy.put(Roster((), (dataclasses.replace(a_sender(), enabled=False),)))
    assert not standing.may(CommandField.C_STORE, CT)


@pytest.mark.req("ING-05")
@pytest.mark.parametrize(
    ("host", "first", "later"),
    [
        ("127.0.0.1", True, True),
        ("127.8.8.8", True, True),
        ("::1", True, True),
        ("::ffff:127.0.0.1", True, True),
        ("10.1.2.3", True, False),
        ("172.16.0.1", True, False),
        ("172.31.255.255", True, False),
        ("192.168.1.1", True, False),
        ("169.254.9.9", True, False),
        ("fd12::1", True, False),
        ("fe80::1%eth0", True, False),
        ("::ffff:192.168.1.1", True, False),
        ("172.32.0.1", False, False),
        ("100.64.0.1", False, False),
        ("192.0.2.1", False, False),
        ("8.8.8.8", False, False),
        ("2001:db8::1", False, False),
        ("::ffff:8.8.8.8", False, False),
    ],
)
def test_one_machine_is_open_to_its_network_until_a_sender_is_named(
    host: str, *, first: bool, later: bool
) -> None:
    disabled = Roster((), (a_sender("BAD*", enabled=False),))
    for roster in (Roster(), disabled, Absence.NEVER_READ):
        found = verdict(roster, "ANYBODY", policy=NEARBY, host=host)
        assert (found == Permit()) is first
    named = Roster((), (a_sender("CT1", **hosts("8.8.0.0/16")), a_sender("US*")))
    found = verdict(named, "ANYBODY", policy=NEARBY, host=host)
    assert found == (Permit() if later else Denied.CALLING)
    assert isinstance(verdict(named, "CT1", policy=NEARBY, host="8.8.8.8"), Permit)
    assert isinstance(verdict(named, "US7", policy=NEARBY, host=host), Permit)
    assert verdict(Absence.UNREADABLE, "X", policy=NEARBY, host=host) is Denied.NO_ROSTER


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ae_title": ""}, "AE title"),
        ({"ae_title": "A" * 17}, "AE title"),
        ({"sop_class_uids": ("CT",)}, "SOP class"),
        ({"max_associations": 0}, "limit of associations"),
        ({"character_set": "ISO_IR 999"}, "character set"),
    ],
)
def test_a_sender_that_makes_no_sense_is_refused(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {
        "ae_title": "CT1",
        "enabled": True,
        "description": "",
        "host_rule": "any",
        "hosts": (),
        "sop_class_rule": "any",
        "sop_class_uids": (CT,),
        "max_associations": 1,
        "character_set": "ISO_IR 100",
    }
    assert Sender(**given).fits("CT1")
    with pytest.raises(ValueError, match=words):
        Sender(**(given | change))


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ({}, {"store"}),
        ({"query_rule": "all"}, {"store", "find"}),
        ({"query_rule": "worklist", "retrieve_rule": "none"}, {"store", "find"}),
        ({"retrieve_rule": "all"}, {"store", "get", "move"}),
    ],
)
def test_a_sender_may_ask_and_retrieve_what_its_rules_say(
    tmp_path: Path, rules: dict[str, Any], allowed: set[str]
) -> None:
    copy = RosterCopy(tmp_path / "senders.json")
    copy.put(Roster((), (dataclasses.replace(a_sender(), **rules),)))
    standing = Standing(Doorkeeper(copy, LISTED), Caller("CT1", "DARKROOM", "::1"))
    asked = {
        "store": CommandField.C_STORE,
        "find": CommandField.C_FIND,
        "get": CommandField.C_GET,
        "move": CommandField.C_MOVE,
    }
    assert {name for name, field in asked.items() if standing.may(field, CT)} == allowed
    assert standing.may(CommandField.C_ECHO, "")
    assert standing.may(CommandField.N_ACTION, "")
    copy.put(Roster((), ()))
    assert not any(standing.may(field, CT) for field in (*asked.values(), CommandField.N_ACTION))
    assert standing.may(CommandField.C_ECHO, "")
    assert standing.permit is None


def test_a_new_list_is_whole_on_the_volume_before_it_is_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        steps.append(f"sync {os.fstat(descriptor).st_size > 0}")
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(roster_module, "sync_directory", lambda _: steps.append("sync directory"))
    RosterCopy(tmp_path / "senders.json").put(Roster((), (a_sender(),)))
    assert steps == ["sync True", "rename", "sync directory"]


def test_a_list_that_another_process_has_put_is_in_force_after_a_look(tmp_path: Path) -> None:
    path = tmp_path / "senders.json"
    RosterCopy(path).put(Roster((), (a_sender(),)))
    gate = Doorkeeper(RosterCopy(path), LISTED)
    caller = Caller("CT1", "DARKROOM", "::1")
    assert isinstance(gate.decide(caller), Permit)
    RosterCopy(path).put(Roster((), ()))
    assert isinstance(gate.decide(caller), Permit), "it is read now and then, not for each caller"
    gate.look()
    assert isinstance(gate.decide(caller), Denied)


def test_sop_classes_are_of_storing_alone(tmp_path: Path) -> None:
    copy = RosterCopy(tmp_path / "senders.json")
    copy.put(Roster((), (a_sender(sop_class_rule="only", sop_class_uids=(MR,)),)))
    standing = Standing(Doorkeeper(copy, LISTED), Caller("CT1", "DARKROOM", "::1"))
    assert standing.may(CommandField.C_STORE, MR)
    assert not standing.may(CommandField.C_STORE, CT)
    assert standing.may(CommandField.N_ACTION, "1.2.840.10008.1.20.1")
