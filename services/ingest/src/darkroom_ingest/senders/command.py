"""`python -m darkroom_ingest ae`: who may send, and which AE titles this node answers to.

Exit code 0: done; 2: it could not be done, and nothing was changed.
"""

import argparse
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from ipaddress import ip_network
from typing import Any, Final

from darkroom_common.errors import ConfigurationError
from darkroom_common.output import operator, say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.pool import Database, open_database
from darkroom_ingest.senders.admission import CalledTitle, HostRule, Roster, Sender
from darkroom_ingest.senders.repository import (
    SCHEMA,
    NotListed,
    put_called,
    put_sender,
    read_roster,
    remove_called,
    remove_sender,
)
from darkroom_ingest.senders.roster import as_json
from darkroom_ingest.settings import IngestSettings

_NO_LIMIT: Final = 0
Work = Callable[[Database, argparse.Namespace, str], Awaitable[None]]


class Wrong(ConfigurationError):
    """The command's arguments make no sense."""


def _host(text: str) -> HostRule:
    """Read ADDRESS, NETWORK/BITS, either with ,sha256=DIGEST of the client's certificate."""
    network, _, more = text.partition(",")
    digest = more.removeprefix("sha256=").replace(":", "").lower() if more else None
    return HostRule(ip_network(network), digest)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command's arguments.

    Raises:
        SystemExit: with code 2, after a usage line.
    """
    parser = argparse.ArgumentParser(
        prog="darkroom ae", description="Who may send objects to this node."
    )
    commands = parser.add_subparsers(required=True, metavar="list | add | set | remove")
    listing = commands.add_parser("list", help="show who is listed")
    listing.add_argument("--json", action="store_true", help="as one JSON object")
    listing.set_defaults(work=_list)
    for name, work, told in (
        ("add", _add, "list an AE"),
        ("set", _set, "change what is listed for an AE; what is not named stays"),
    ):
        one = commands.add_parser(name, help=told)
        one.set_defaults(work=work)
        _describe(one)
    removing = commands.add_parser("remove", help="take an AE from the list")
    removing.set_defaults(work=_remove)
    _name(removing)
    return parser.parse_args(arguments)


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ae_title", help="case counts; of a calling AE, * is any characters and ? is one"
    )
    parser.add_argument(
        "--called", action="store_true", help="a title that this node answers to, no sender"
    )
    parser.add_argument("--by", help="who changes it; default: the user of this process")


def _describe(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    hosts = parser.add_mutually_exclusive_group()
    hosts.add_argument(
        "--host",
        action="append",
        type=_host,
        metavar="ADDRESS[/BITS][,sha256=DIGEST]",
        help="where it may come from, and with which TLS certificate; may be given again",
    )
    hosts.add_argument("--any-host", action="store_true", help="it may come from anywhere")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument(
        "--only-sop-class", action="append", metavar="UID", help="what it may store; again"
    )
    classes.add_argument(
        "--not-sop-class", action="append", metavar="UID", help="what it may not store; again"
    )
    classes.add_argument("--any-sop-class", action="store_true", help="it may store everything")
    parser.add_argument(
        "--max-associations", type=int, metavar="N", help="at a time; 0: no limit of its own"
    )
    text = parser.add_mutually_exclusive_group()
    text.add_argument(
        "--character-set",
        metavar="NAME",
        help="of its text where it does not say: as in (0008,0005), or such as windows-1251",
    )
    text.add_argument("--no-character-set", action="store_true", help="nothing is known of it")
    parser.add_argument(
        "--character-set-rule",
        choices=("undeclared", "always"),
        help="always: what its objects declare is wrong",
    )
    parser.add_argument(
        "--query",
        choices=("none", "own", "any"),
        help="what it is told of when it asks; own: studies of which it has sent something",
    )
    parser.add_argument(
        "--retrieve",
        choices=("none", "own", "any"),
        help="what it gets by C-GET, or has sent by C-MOVE; own: as above",
    )
    parser.add_argument("--description", help="for people; name no patient")
    state = parser.add_mutually_exclusive_group()
    state.add_argument("--enable", dest="enabled", action="store_true", default=None)
    state.add_argument("--disable", dest="enabled", action="store_false", help="reject it")


async def ae(settings: IngestSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
    """
    given = parse(arguments)
    work: Work = given.work
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="ingest-ae", size=1) as database:
        await require_compatible(database, schema=SCHEMA, package="darkroom_ingest")
        try:
            await work(database, given, getattr(given, "by", None) or operator())
        except ValueError as error:
            raise Wrong(str(error)) from error
    return 0


async def _roster(database: Database) -> Roster:
    async with database.acquire() as db:
        return await read_roster(db)


async def _list(database: Database, given: argparse.Namespace, _: str) -> None:
    roster = await _roster(database)
    if given.json:
        listed = {
            "called": [asdict(one) for one in roster.called],
            "senders": [as_json(one) for one in roster.senders],
        }
        say(json.dumps(listed))
        return
    for title in roster.called:
        say(_line(title.ae_title, "answers to it", title.enabled, title.description))
    for sender in roster.senders:
        say(_line(sender.ae_title, _rules(sender), sender.enabled, sender.description))
    if not roster.senders:
        say("no sender is listed")


def _line(ae_title: str, rules: str, enabled: bool, description: str) -> str:
    state = "" if enabled else "disabled; "
    return f"{ae_title:16}  {state}{rules}" + (f"  ({description})" if description else "")


def _rules(sender: Sender) -> str:
    hosts = [
        f"{rule.network}" + (f",sha256={rule.certificate_sha256}" * bool(rule.certificate_sha256))
        for rule in sender.hosts
    ]
    classes = ", ".join(sender.sop_class_uids)
    return "; ".join(
        [
            "from any host" if sender.host_rule == "any" else f"from {', '.join(hosts)}",
            {"any": "any SOP class", "only": f"only {classes}", "not": f"all but {classes}"}[
                sender.sop_class_rule
            ],
            *([f"at most {sender.max_associations} at a time"] * bool(sender.max_associations)),
            *(
                [f"text in {sender.character_set}, {sender.character_set_rule}"]
                * bool(sender.character_set)
            ),
            *([f"may ask for {sender.query_rule}"] * (sender.query_rule != "none")),
            *([f"may retrieve {sender.retrieve_rule}"] * (sender.retrieve_rule != "none")),
        ]
    )


async def _add(database: Database, given: argparse.Namespace, by: str) -> None:
    if given.called:
        title = CalledTitle(given.ae_title, enabled=True, description="")
        await put_called(database, _called(given, title), by=by, new=True)
    else:
        if not given.host and not given.any_host:
            raise Wrong("say where it may come from: --host, or --any-host")
        fresh = Sender(
            given.ae_title,
            enabled=True,
            description="",
            host_rule="any",
            hosts=(),
            sop_class_rule="any",
            sop_class_uids=(),
            max_associations=None,
        )
        await put_sender(database, _changed(given, fresh), by=by, new=True)
    say(f"{given.ae_title} is listed")


async def _set(database: Database, given: argparse.Namespace, by: str) -> None:
    roster = await _roster(database)
    if given.called:
        titles = {one.ae_title: one for one in roster.called}
        if given.ae_title not in titles:
            raise NotListed(f"{given.ae_title} is not listed")
        changed = _called(given, titles[given.ae_title])
        await put_called(database, changed, by=by, new=False)
    else:
        senders = {one.ae_title: one for one in roster.senders}
        if given.ae_title not in senders:
            raise NotListed(f"{given.ae_title} is not listed")
        changed_sender = _changed(given, senders[given.ae_title])
        await put_sender(database, changed_sender, by=by, new=False)
    say(f"{given.ae_title} is changed")


async def _remove(database: Database, given: argparse.Namespace, by: str) -> None:
    if given.called:
        await remove_called(database, given.ae_title, by=by)
    else:
        await remove_sender(database, given.ae_title, by=by)
    say(f"{given.ae_title} is not listed any more")


def _called(given: argparse.Namespace, title: CalledTitle) -> CalledTitle:
    if given.host or given.only_sop_class or given.not_sop_class or given.max_associations:
        raise Wrong("a title that this node answers to has no rules for senders")
    return replace(title, **_common(given))


def _changed(given: argparse.Namespace, sender: Sender) -> Sender:
    changes: dict[str, Any] = _common(given)
    if given.host:
        changes |= {"host_rule": "listed", "hosts": tuple(given.host)}
    elif given.any_host:
        changes |= {"host_rule": "any", "hosts": ()}
    for rule, uids in (("only", given.only_sop_class), ("not", given.not_sop_class)):
        if uids:
            changes |= {"sop_class_rule": rule, "sop_class_uids": tuple(sorted(set(uids)))}
    if given.any_sop_class:
        changes |= {"sop_class_rule": "any", "sop_class_uids": ()}
    if given.max_associations is not None:
        limit = given.max_associations
        changes["max_associations"] = None if limit == _NO_LIMIT else limit
    if given.character_set or given.no_character_set:
        changes["character_set"] = given.character_set
    if given.character_set_rule:
        changes["character_set_rule"] = given.character_set_rule
    rules = {"query_rule": given.query, "retrieve_rule": given.retrieve}
    changes |= {name: rule for name, rule in rules.items() if rule}
    return replace(sender, **changes)


def _common(given: argparse.Namespace) -> dict[str, Any]:
    found = {"enabled": given.enabled, "description": given.description}
    return {name: value for name, value in found.items() if value is not None}
