"""Who may open an association and what it may store, decided without I/O."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal

from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed, is_assumable
from darkroom_common.specs.ae_titles import fits, is_pattern, precision

_AE_TITLE: Final = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")
_UID: Final = re.compile(r"[0-9][0-9.]{0,63}")
_PRIVATE: Final = tuple(
    ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
"""RFC 1918, RFC 4193, and what stays on its link."""
QueryRule = Literal["none", "own", "any"]
"""Which studies a caller is told of, or gets; its own: of which it has sent something."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def is_ae_title(text: str) -> bool:
    """Return whether a title without its padding is one (PS3.5 table 6.2-1, VR AE)."""
    return _AE_TITLE.fullmatch(text) is not None


@dataclass(frozen=True)
class HostRule:
    """Where a sender may come from; with a digest, only over TLS with that certificate."""

    network: IPv4Network | IPv6Network
    certificate_sha256: str | None

    def __post_init__(self) -> None:
        """Refuse what is no digest."""
        if self.certificate_sha256 is not None and not _SHA256.fullmatch(self.certificate_sha256):
            raise ValueError("a SHA-256 is 64 hexadecimal digits in lower case")


@dataclass(frozen=True)
class Sender:
    """One calling AE, or those that a pattern fits: * is any run of characters, ? is one."""

    ae_title: str
    enabled: bool
    description: str
    host_rule: Literal["any", "listed"]
    hosts: tuple[HostRule, ...]
    sop_class_rule: Literal["any", "only", "not"]
    sop_class_uids: tuple[str, ...]
    max_associations: int | None
    character_set: str | None = None
    character_set_rule: Literal["undeclared", "always"] = "undeclared"
    query_rule: QueryRule = "none"
    retrieve_rule: QueryRule = "none"

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not is_ae_title(self.ae_title):
            raise ValueError("an AE title has 1 to 16 ASCII characters without backslash")
        if not all(_UID.fullmatch(uid) for uid in self.sop_class_uids):
            raise ValueError("a SOP class is named by its UID")
        if self.max_associations is not None and self.max_associations < 1:
            raise ValueError("a limit of associations is 1 or more")
        if self.character_set is not None and not is_assumable(self.character_set):
            raise ValueError("a character set is named as in (0008,0005), or is a code page")

    @property
    def is_pattern(self) -> bool:
        """Whether more than one title may fit."""
        return is_pattern(self.ae_title)

    def fits(self, ae_title: str) -> bool:
        """Return whether this is about a title; case counts."""
        return fits(self.ae_title, ae_title)


@dataclass(frozen=True)
class CalledTitle:
    """An AE title that this node answers to."""

    ae_title: str
    enabled: bool
    description: str

    def __post_init__(self) -> None:
        """Refuse what is no AE title."""
        if not is_ae_title(self.ae_title):
            raise ValueError("an AE title has 1 to 16 ASCII characters without backslash")


@dataclass(frozen=True)
class Roster:
    """All that is listed."""

    called: tuple[CalledTitle, ...] = ()
    senders: tuple[Sender, ...] = ()

    def sender(self, ae_title: str) -> Sender | None:
        """Return the rule for a title: its own, else the pattern with the most characters."""
        found = [one for one in self.senders if one.fits(ae_title)]
        return max(found, key=lambda one: precision(one.ae_title), default=None)


class Absence(Enum):
    """Why there is no roster."""

    NEVER_READ = "the list of senders has never been read from the database"
    UNREADABLE = "the copy of the list of senders cannot be read, and the database has not answered"


@dataclass(frozen=True)
class Policy:
    """What holds whatever is listed.

    Attributes:
        accept_unknown: whether who is not listed may send.
        only_nearby: such callers come from this machine or, until a sender is listed that is not
            disabled, from a private network.
    """

    ae_title: str
    require_called: bool
    accept_unknown: bool
    only_nearby: bool = False


@dataclass(frozen=True)
class Caller:
    """Who asks for an association. The certificate's digest is empty without a certificate."""

    calling_ae_title: str
    called_ae_title: str
    host: str
    certificate_sha256: str = ""


class Denied(StrEnum):
    """Why a caller is rejected; the value is the word in the log."""

    CALLED = "called-ae-title"
    CALLING = "calling-ae-title"
    DISABLED = "calling-ae-disabled"
    HOST = "host"
    NO_ROSTER = "no-list-of-senders"


@dataclass(frozen=True)
class Permit:
    """What an admitted caller may do."""

    max_associations: int | None = None
    sop_class_rule: Literal["any", "only", "not"] = "any"
    sop_class_uids: frozenset[str] = frozenset()
    query_rule: QueryRule = "none"
    retrieve_rule: QueryRule = "none"
    assumed: Assumed = NOTHING_ASSUMED

    def allows(self, sop_class_uid: str) -> bool:
        """Return whether objects of a SOP class may be stored."""
        return self.sop_class_rule == "any" or (
            (sop_class_uid in self.sop_class_uids) is (self.sop_class_rule == "only")
        )


def decide(caller: Caller, policy: Policy, roster: Roster | Absence) -> Permit | Denied:
    """Return what a caller may do, or why it is rejected."""
    if isinstance(roster, Roster):
        return _decide(caller, policy, roster)
    if roster is Absence.NEVER_READ and policy.accept_unknown:
        return _decide(caller, policy, Roster())
    return Denied.NO_ROSTER


def _decide(caller: Caller, policy: Policy, roster: Roster) -> Permit | Denied:
    sender = roster.sender(caller.calling_ae_title)
    if not is_ae_title(caller.called_ae_title) or (
        policy.require_called and caller.called_ae_title not in _answered_to(policy, roster)
    ):
        return Denied.CALLED
    if not is_ae_title(caller.calling_ae_title):
        return Denied.CALLING
    if sender is not None:
        return _permit(caller, sender)
    return Permit() if _welcomes(caller, policy, roster) else Denied.CALLING


def _welcomes(caller: Caller, policy: Policy, roster: Roster) -> bool:
    """Return whether a caller may send that is not listed."""
    if not policy.accept_unknown or not policy.only_nearby:
        return policy.accept_unknown
    address = address_of(caller.host)
    named = any(one.enabled for one in roster.senders)
    return address.is_loopback or (not named and any(address in one for one in _PRIVATE))


def _permit(caller: Caller, sender: Sender) -> Permit | Denied:
    if not sender.enabled:
        return Denied.DISABLED
    if not _from_its_host(sender, caller):
        return Denied.HOST
    return Permit(
        sender.max_associations,
        sender.sop_class_rule,
        frozenset(sender.sop_class_uids),
        sender.query_rule,
        sender.retrieve_rule,
        Assumed(sender.character_set or "", sender.character_set_rule == "always"),
    )


def _answered_to(policy: Policy, roster: Roster) -> Iterator[str]:
    yield policy.ae_title
    yield from (one.ae_title for one in roster.called if one.enabled)


def _from_its_host(sender: Sender, caller: Caller) -> bool:
    if sender.host_rule == "any":
        return True
    address = address_of(caller.host)
    return any(
        address in rule.network and rule.certificate_sha256 in {None, caller.certificate_sha256}
        for rule in sender.hosts
    )


def address_of(host: str) -> IPv4Address | IPv6Address:
    """Return an address as rules name it: one of IPv4 that comes by an IPv6 socket is IPv4."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
